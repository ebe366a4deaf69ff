//! A JSON-RPC call → its method.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Parsed;

/// Longest method.
const METHOD_MAX: usize = 256;

/// Method of a call, or of the first one of a list: `login`, `mining.subscribe`, `eth_submitWork`. It stands anywhere among
/// the call's fields.
///
/// ```
/// use krsi_plugin::parse::{Parsed, json_rpc_method};
/// let login = br#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"#;
/// assert_eq!(json_rpc_method(login), Parsed::Found("login".into()));
/// assert_eq!(json_rpc_method(&login[..30]), Parsed::Unknown);
/// assert_eq!(json_rpc_method(br#"{"id":1,"result":true}"#), Parsed::Absent);
/// ```
#[must_use]
pub fn json_rpc_method(stream: &[u8]) -> Parsed<String> {
    let mut found = Search::default();
    let read = Call(&mut found).deserialize(&mut serde_json::Deserializer::from_slice(stream));
    match (found.method, read) {
        (Some(method), _) => method.map_or(Parsed::Absent, Parsed::Found),
        (None, Ok(())) => Parsed::Absent,
        // Behind what is wrong it may yet stand; one that is nested too deep is none that is read.
        (None, Err(error)) if error.is_eof() || found.is_object => Parsed::Unknown,
        (None, Err(_)) => Parsed::Absent,
    }
}

/// What was found so far: reading ends with an error as soon as there is something.
#[derive(Debug, Default)]
struct Search {
    /// The method; `None` within for one that is no text.
    method: Option<Option<String>>,
    /// Whether there is an object, which may have one.
    is_object: bool,
}

/// Looks for the method of one call.
struct Call<'s>(&'s mut Search);

impl<'de> DeserializeSeed<'de> for Call<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Call<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut calls: A) -> Result<(), A::Error> {
        // One that is not whole was found all the same; what follows it is of no meaning.
        let first = calls.next_element_seed(Call(self.0))?;
        match first {
            Some(()) => Err(A::Error::custom("the first call has none")),
            None => Ok(()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.0.is_object = true;
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            if name != "method" {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = fields.next_value::<serde_json::Value>()?;
            let text = value.as_str().filter(|text| text.len() <= METHOD_MAX);
            self.0.method = Some(text.map(str::to_owned));
            return Err(A::Error::custom("it is found"));
        }
        self.0.method = Some(None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cut_everywhere, mutate};
    use super::*;

    #[test]
    fn a_method_is_found_wherever_it_stands_and_unknown_where_it_is_cut() {
        let calls = [
            r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"x","agent":"y"}}"#,
            " \n{\"params\":[{\"method\":\"inner\"},\"{\\\"\",1e3,null],\"method\" : \"lo\\u0067in\"}\n{}",
            r#"[{"id":1,"method":"login"},{"method":"other"}]"#,
        ];
        for call in calls {
            cut_everywhere(call.as_bytes(), json_rpc_method, &"login".to_owned());
            mutate(call.as_bytes(), json_rpc_method);
        }
    }

    #[test]
    fn what_is_no_call_is_absent_and_what_cannot_be_read_is_unknown() {
        let long = format!("{{\"method\":\"{}\"}}", "x".repeat(METHOD_MAX + 1));
        for other in [
            "{}",
            "[]",
            "1",
            "\"method\"",
            "[1,{\"method\":\"x\"}]",
            "{\"method\":7}",
            "GET /",
            "x",
            &long,
        ] {
            assert_eq!(json_rpc_method(other.as_bytes()), Parsed::Absent, "{other}");
        }
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let deep = format!("{{\"a\":{open}{close},\"method\":\"x\"}}");
        assert_eq!(json_rpc_method(deep.as_bytes()), Parsed::Found("x".into()));
        let deep = format!("{{\"method\":{open}{close}}}");
        for unknown in ["", " ", "{", "[{\"a\"", "{\"a\":\u{1},", &deep] {
            assert_eq!(json_rpc_method(unknown.as_bytes()), Parsed::Unknown, "{unknown}");
        }
    }
}
