//! Contract 0.2: its bindings and the conversions to the contract-neutral view.

use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use super::instance::{Bindings, Host, bind};
use super::log::Level;
use super::manifest::RawFilter;
use super::{ContractRow, DenyKey, OnStop, RawManifest};

/// This contract in the table.
pub(super) const ROW: ContractRow = ContractRow {
    version: (0, 2),
    exports: &["describe", "init", "handle", "snapshot", "restore"],
    imports: &["log", "level", "deny-keys", "on-stop", "filter", "manifest"],
    marks: &["watches", "filters"],
    bind: bind::<bindings::Plugin>,
};

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit/v0.2", world: "plugin" });
}

impl bindings::PluginImports for Host {
    fn log(&mut self, level: bindings::Level, text: String) {
        let level = match level {
            bindings::Level::Error => Level::Error,
            bindings::Level::Warn => Level::Warn,
            bindings::Level::Info => Level::Info,
            bindings::Level::Debug => Level::Debug,
        };
        self.log.write(level, &text);
    }
}

impl Bindings for bindings::Plugin {
    const SCHEMA: u16 = krsi_plugin_schema::v0_2::SCHEMA;
    type Pre = bindings::PluginPre<Host>;

    fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
        Self::add_to_linker::<_, HasSelf<_>>(linker, |host: &mut Host| host)
    }

    fn pre(pre: InstancePre<Host>) -> wasmtime::Result<Self::Pre> {
        bindings::PluginPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<Host>) -> wasmtime::Result<Self> {
        pre.instantiate(store)
    }

    fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<RawManifest> {
        self.call_describe(store).map(raw)
    }

    fn init(
        &self,
        store: &mut Store<Host>,
        config: &[u8],
        seed: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        self.call_init(store, config, seed)
    }

    fn handle(&self, store: &mut Store<Host>, batch: &[u8]) -> wasmtime::Result<Vec<u8>> {
        self.call_handle(store, batch)
    }

    fn snapshot(&self, store: &mut Store<Host>) -> wasmtime::Result<Vec<u8>> {
        self.call_snapshot(store)
    }

    fn restore(
        &self,
        store: &mut Store<Host>,
        from_version: &str,
        state: &[u8],
    ) -> wasmtime::Result<Result<(), String>> {
        self.call_restore(store, from_version, state)
    }
}

fn raw(manifest: bindings::Manifest) -> RawManifest {
    use bindings::DenyKeys;
    let keys = [
        (DenyKeys::PROCESS, DenyKey::Process),
        (DenyKeys::LINEAGE, DenyKey::Lineage),
        (DenyKeys::FILE, DenyKey::File),
        (DenyKeys::NETWORK, DenyKey::Network),
        (DenyKeys::CGROUP, DenyKey::Cgroup),
        (DenyKeys::PATH, DenyKey::Path),
        (DenyKeys::DIGEST, DenyKey::Digest),
        (DenyKeys::HOOK, DenyKey::Hook),
    ];
    let deny = manifest.deny;
    let asked = keys.into_iter().filter(|(key, _)| deny.contains(*key));
    RawManifest {
        deny_keys: asked.map(|(_, key)| key).collect(),
        name: manifest.name,
        version: manifest.version,
        schema: manifest.schema,
        hooks: manifest.hooks,
        watches: manifest.watches,
        filters: manifest.filters.into_iter().map(filter).collect(),
        deny_hooks: manifest.deny_hooks,
        kill: manifest.kill,
        tick_ms: manifest.tick_ms,
        on_stop: match manifest.on_stop {
            bindings::OnStop::Keep => OnStop::Keep,
            bindings::OnStop::Clear => OnStop::Clear,
        },
    }
}

fn filter(filter: bindings::Filter) -> RawFilter {
    RawFilter {
        hook: filter.hook,
        uid: filter.uid,
        cgroup: filter.cgroup,
        path_prefix: filter.path_prefix,
        flags_any: filter.flags_any,
        port: filter.port,
        first_seen: filter.first_seen,
        per_process_rate: filter.per_process_rate,
    }
}
