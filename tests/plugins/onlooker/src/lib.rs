//! Tells the calls of processes whose name starts as its configuration says, each value by its field's name.

use std::fmt::Write;

use krsi_plugin::{Call, Ctx, Hook, Manifest, Meta, Plugin, Severity, Value, Why};

/// Tells what somebody does.
pub struct Onlooker {
    prefixes: Vec<String>,
}

impl Onlooker {
    fn is_watched(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

impl Plugin for Onlooker {
    fn manifest() -> Manifest {
        let calls = Hook::all().filter(|hook| hook.is_call());
        calls.fold(Manifest::new("onlooker", "0.1.0"), Manifest::hook)
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        Ok(Self { prefixes: text.split_whitespace().map(str::to_owned).collect() })
    }

    fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
        let mut names = call.values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.text.as_ref()),
            _ => None,
        });
        // A task is freed by whoever comes by: its own name is in the record.
        let freed = call.hook == Hook::TaskFree && names.any(|name| self.is_watched(name));
        if !freed && !self.is_watched(&meta.comm) {
            return;
        }
        let mut text = format!("{} {}", meta.comm, call.hook.name());
        for (row, value) in call.hook.fields().iter().zip(&call.values) {
            // Writing to a String cannot fail.
            let _ok = match value {
                Value::Absent(Why::Kernel) => write!(text, " | {}=absent", row.name),
                Value::Absent(Why::Null) => write!(text, " | {}=null", row.name),
                Value::Absent(Why::Unreadable) => write!(text, " | {}=unreadable", row.name),
                value => write!(text, " | {}={value}", row.name),
            };
        }
        ctx.alert("", Severity::Info, meta.process, text);
    }
}

krsi_plugin::export!(Onlooker);
