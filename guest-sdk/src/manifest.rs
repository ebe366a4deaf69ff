//! What a plugin asks for.

use krsi_plugin_schema::latest::Hook;

/// What becomes of a plugin's rules when it stops and the host goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They stand until they expire.
    Keep,
    /// They are withdrawn at once.
    Clear,
}

/// Name, version, hooks and capabilities of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) deny_hooks: Vec<Hook>,
    pub(crate) by_process: bool,
    pub(crate) by_lineage: bool,
    pub(crate) by_file: bool,
    pub(crate) by_network: bool,
    pub(crate) kill: bool,
    pub(crate) tick_ms: u32,
    pub(crate) on_stop: OnStop,
}

impl Manifest {
    /// A manifest that asks for nothing. The name is `[a-z0-9-]`, at most 64 bytes: rules belong
    /// to it.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            hooks: Vec::new(),
            deny_hooks: Vec::new(),
            by_process: false,
            by_lineage: false,
            by_file: false,
            by_network: false,
            kill: false,
            tick_ms: 0,
            on_stop: OnStop::Keep,
        }
    }

    /// Subscribes to a hook.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Asks to deny calls of a hook.
    #[must_use]
    pub fn deny_hook(mut self, hook: Hook) -> Self {
        self.deny_hooks.push(hook);
        self
    }

    /// Asks to deny by process.
    #[must_use]
    pub const fn deny_by_process(mut self) -> Self {
        self.by_process = true;
        self
    }

    /// Asks to deny by lineage, as key or as subject.
    #[must_use]
    pub const fn deny_by_lineage(mut self) -> Self {
        self.by_lineage = true;
        self
    }

    /// Asks to deny by file.
    #[must_use]
    pub const fn deny_by_file(mut self) -> Self {
        self.by_file = true;
        self
    }

    /// Asks to deny by network destination.
    #[must_use]
    pub const fn deny_by_network(mut self) -> Self {
        self.by_network = true;
        self
    }

    /// Asks to kill processes.
    #[must_use]
    pub const fn kill(mut self) -> Self {
        self.kill = true;
        self
    }

    /// Asks for a tick every so many milliseconds, at least 10.
    #[must_use]
    pub const fn tick_ms(mut self, tick_ms: u32) -> Self {
        self.tick_ms = tick_ms;
        self
    }

    /// Says what becomes of its rules when it stops; they are kept unless said otherwise.
    #[must_use]
    pub const fn on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }
}
