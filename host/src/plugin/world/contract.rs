//! What the module of every contract has in common: its bindings under the names that all share.

/// Generates a contract's bindings from its WIT world, and serves them: `$schema` is that of its
/// batches, `$manifest` makes the manifest of what its `describe` returns.
macro_rules! contract {
    (path: $path:tt, schema: $schema:expr, manifest: $manifest:path) => {
        mod bindings {
            wasmtime::component::bindgen!({ path: $path, world: "plugin" });
        }

        impl bindings::PluginImports for $crate::plugin::world::instance::Host {
            fn log(&mut self, level: bindings::Level, text: String) {
                use $crate::plugin::world::log::Level;
                let level = match level {
                    bindings::Level::Error => Level::Error,
                    bindings::Level::Warn => Level::Warn,
                    bindings::Level::Info => Level::Info,
                    bindings::Level::Debug => Level::Debug,
                };
                self.log.write(level, &text);
            }
        }

        const _: () = {
            use wasmtime::component::{HasSelf, InstancePre, Linker};
            use wasmtime::{Result, Store};

            use $crate::plugin::world::instance::{Bindings, Host, RawManifest};

            impl Bindings for bindings::Plugin {
                const SCHEMA: krsi_plugin_schema::Schema = $schema;
                type Pre = bindings::PluginPre<Host>;

                fn link(linker: &mut Linker<Host>) -> Result<()> {
                    Self::add_to_linker::<_, HasSelf<_>>(linker, |host: &mut Host| host)
                }

                fn pre(pre: InstancePre<Host>) -> Result<Self::Pre> {
                    bindings::PluginPre::new(pre)
                }

                fn instantiate(pre: &Self::Pre, store: &mut Store<Host>) -> Result<Self> {
                    pre.instantiate(store)
                }

                fn describe(&self, store: &mut Store<Host>) -> Result<RawManifest> {
                    self.call_describe(store).map($manifest)
                }

                fn init(
                    &self,
                    store: &mut Store<Host>,
                    config: &[u8],
                    seed: u64,
                ) -> Result<std::result::Result<Vec<u8>, String>> {
                    self.call_init(store, config, seed)
                }

                fn handle(&self, store: &mut Store<Host>, batch: &[u8]) -> Result<Vec<u8>> {
                    self.call_handle(store, batch)
                }

                fn snapshot(&self, store: &mut Store<Host>) -> Result<Vec<u8>> {
                    self.call_snapshot(store)
                }

                fn restore(
                    &self,
                    store: &mut Store<Host>,
                    from_version: &str,
                    state: &[u8],
                ) -> Result<std::result::Result<(), String>> {
                    self.call_restore(store, from_version, state)
                }
            }
        };
    };
}

pub(super) use contract;
