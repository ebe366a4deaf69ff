//! Tells of each process that ran already and whose executable's path starts as its configuration says; at the end of
//! how many it was told, and of how many more than once.

use std::collections::BTreeMap;

use krsi_plugin::{Ctx, Manifest, Plugin, ProcessKey, Running, RunningEnd, Severity};

struct Muster {
    prefix: String,
    told: BTreeMap<ProcessKey, u32>,
    gone: u32,
}

impl Plugin for Muster {
    fn manifest() -> Manifest {
        Manifest::new("muster", "1.0.0").running()
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        let prefix = String::from_utf8_lossy(config).trim().to_owned();
        Ok(Self { prefix, told: BTreeMap::new(), gone: 0 })
    }

    fn running(&mut self, running: &Running, ctx: &mut Ctx) {
        let process = &running.process;
        *self.told.entry(process.key).or_default() += 1;
        if !process.exe.starts_with(&self.prefix) {
            return;
        }
        let to: Vec<String> = running
            .connections
            .iter()
            .filter_map(|to| Some(format!("{}:{}", to.address?, to.port)))
            .collect();
        let parent = ctx.ancestors(process.key).next().map_or(0, |parent| parent.key.tgid);
        let text = format!(
            "{} flags {} arguments {} of {} bytes, parent {} {parent}, uid {}, cgroup {:?}, to {}",
            process.exe,
            running.flags.0,
            process.argv.argc,
            process.argv.joined.len(),
            process.parent.tgid,
            process.uid,
            process.cgroup,
            to.join(" ")
        );
        ctx.alert("T1057", Severity::Info, process.key, text);
    }

    fn running_end(&mut self, end: &RunningEnd, ctx: &mut Ctx) {
        let twice = self.told.values().filter(|times| **times > 1).count();
        let told = self.told.len();
        let text = format!(
            "end: told {told}, said {}, twice {twice}, ended {}, outside {}",
            end.told, end.ended, end.outside
        );
        ctx.alert("T1057", Severity::Low, ProcessKey::default(), text);
    }

    fn gone(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        if self.told.contains_key(&process) {
            self.gone += 1;
            ctx.alert("T1057", Severity::Low, process, format!("gone {}", process.tgid));
        }
    }
}

krsi_plugin::export!(Muster);
