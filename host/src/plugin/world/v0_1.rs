//! Contract 0.1: its row, and its manifest in the words of the newest.

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::{KeyKind, Manifest, OnStop, ToldRunning};

use super::contract::contract;
use super::instance::{RawManifest, bind};
use super::{ContractRow, Describes};

/// This contract in the table.
pub(super) const ROW: ContractRow = ContractRow {
    version: (0, 1),
    exports: &["describe", "init", "handle", "snapshot", "restore"],
    imports: &["log", "level", "deny-keys", "on-stop", "manifest"],
    describes: Describes::Record,
    bind: bind::<bindings::Plugin>,
};

contract! { path: "../wit/v0.1", schema: Schema::V0_1, manifest: raw }

fn raw(manifest: bindings::Manifest) -> RawManifest {
    use bindings::DenyKeys;
    let keys = [
        (DenyKeys::PROCESS, KeyKind::Process),
        (DenyKeys::LINEAGE, KeyKind::Lineage),
        (DenyKeys::FILE, KeyKind::File),
        (DenyKeys::NETWORK, KeyKind::Network),
    ];
    let deny = manifest.deny;
    let asked = keys.into_iter().filter(|(key, _)| deny.contains(*key));
    Ok(Manifest {
        deny_keys: asked.map(|(_, key)| key).collect(),
        name: manifest.name,
        version: manifest.version,
        schema: manifest.schema,
        hooks: manifest.hooks,
        watches: Vec::new(),
        filters: Vec::new(),
        deny_hooks: manifest.deny_hooks,
        running: ToldRunning::Never,
        samples: false,
        kill: manifest.kill,
        tick_ms: manifest.tick_ms,
        labels: Vec::new(),
        on_stop: match manifest.on_stop {
            bindings::OnStop::Keep => OnStop::Keep,
            bindings::OnStop::Clear => OnStop::Clear,
        },
    })
}
