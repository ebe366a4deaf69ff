//! Values that were read of a call, as reports show them to people and machines.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::text::Quoted;

/// One value. As JSON it is a text as it is, or `null` when there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// The value is not there, or could not be read.
    Absent,
    /// A number, an address, a digest: what is written by the host.
    Written(String),
    /// A text as the kernel gave it, such as a name.
    Text(String),
}

/// Object of a call, for reports. As JSON it is one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallObject {
    /// A path or an address, as it is.
    Name(String),
    /// Values of the call, each behind the name of its field if it has one.
    Fields(Vec<(&'static str, FieldValue)>),
}

impl FieldValue {
    /// Permission bits, as `chmod` takes them.
    #[must_use]
    pub fn mode(mode: u64) -> Self {
        Self::Written(format!("0o{mode:03o}"))
    }
}

impl Display for FieldValue {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("-"),
            Self::Written(words) => out.write_str(words),
            Self::Text(text) => Quoted(text).fmt(out),
        }
    }
}

impl Display for CallObject {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let fields = match self {
            Self::Name(name) => return Quoted(name).fmt(out),
            Self::Fields(fields) => fields,
        };
        for (at, (name, value)) in fields.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            let equals = if name.is_empty() { "" } else { "=" };
            write!(out, "{gap}{name}{equals}{value}")?;
        }
        Ok(())
    }
}

impl Serialize for FieldValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => to.serialize_none(),
            Self::Written(text) | Self::Text(text) => to.serialize_str(text),
        }
    }
}

impl Serialize for CallObject {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => to.serialize_str(name),
            Self::Fields(_) => to.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_passes_for_no_field() {
        let text = |text: &str| FieldValue::Text(text.into());
        let fields = vec![("folder", text("/etc")), ("name", text("x uid=0 name=/etc/shadow"))];
        let object = CallObject::Fields(fields);
        let shown = "folder=/etc name=\"x uid=0 name=/etc/shadow\"";
        assert_eq!(object.to_string(), shown);
        assert_eq!(serde_json::to_value(&object).unwrap(), shown);
        let name = CallObject::Name("a b\n".into());
        assert_eq!(name.to_string(), "\"a b\\n\"");
        assert_eq!(serde_json::to_value(&name).unwrap(), "a b\n");
    }

    #[test]
    fn what_is_not_there_is_no_text() {
        let check = |value: FieldValue, shown: &str, json: serde_json::Value| {
            assert_eq!(value.to_string(), shown);
            assert_eq!(serde_json::to_value(&value).unwrap(), json);
        };
        check(FieldValue::Absent, "-", serde_json::Value::Null);
        check(FieldValue::Text("-".into()), "\"-\"", "-".into());
        check(FieldValue::mode(0o4755), "0o4755", "0o4755".into());
        check(FieldValue::mode(4), "0o004", "0o004".into());
    }
}
