//! What a plugin may use, and the meter that says which limit it exceeded.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Limits of one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, bytes.
    pub memory_bytes: usize,
    pub table_elements: usize,
    /// Native stack of a call, bytes.
    pub stack_bytes: usize,
    /// Time of one call of `handle`.
    pub call_deadline: Duration,
    /// Time of `describe` and `init` together with instantiation.
    pub init_deadline: Duration,
    /// Size of the Wasm file, bytes.
    pub binary_bytes: u64,
    /// Actions of one call, bytes; also bounds every other value that a call returns.
    pub output_bytes: usize,
    /// State that `snapshot` may return, bytes.
    pub state_bytes: usize,
    /// Records that wait for it.
    pub queue_records: usize,
    /// One line of the log, bytes; what is longer is cut.
    pub log_line_bytes: usize,
    /// Bytes of the log in one second; what is more is counted and dropped.
    pub log_bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 16 << 10,
            stack_bytes: 512 << 10,
            call_deadline: Duration::from_secs(1),
            init_deadline: Duration::from_secs(5),
            binary_bytes: 16 << 20,
            output_bytes: 1 << 20,
            state_bytes: 4 << 20,
            queue_records: 65_536,
            log_line_bytes: 4 << 10,
            log_bytes_per_second: 16 << 10,
        }
    }
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) what: &'static str,
    pub(crate) asked: usize,
    pub(crate) limit: usize,
}

/// Grants growth up to the limits and remembers what it refused.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limits: Limits,
    exceeded: Option<Exceeded>,
}

impl MemoryMeter {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { limits, exceeded: None }
    }

    /// The last refusal, if there was one.
    pub(crate) const fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    fn grant(&mut self, what: &'static str, asked: usize, limit: usize) -> bool {
        if asked > limit {
            self.exceeded = Some(Exceeded { what, asked, limit });
        }
        asked <= limit
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grant("memory", desired, self.limits.memory_bytes))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grant("table elements", desired, self.limits.table_elements))
    }

    fn instances(&self) -> usize {
        8
    }

    fn tables(&self) -> usize {
        8
    }

    fn memories(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_beyond_a_limit_is_refused_and_remembered() {
        let limits = Limits { memory_bytes: 1 << 16, table_elements: 10, ..Limits::default() };
        let mut meter = MemoryMeter::new(limits);
        assert!(meter.memory_growing(0, 1 << 16, None).is_ok_and(|granted| granted));
        assert!(meter.table_growing(0, 10, None).is_ok_and(|granted| granted));
        assert_eq!(meter.exceeded(), None);
        assert!(meter.table_growing(10, 11, None).is_ok_and(|granted| !granted));
        let table = Exceeded { what: "table elements", asked: 11, limit: 10 };
        assert_eq!(meter.exceeded(), Some(table));
        assert!(meter.memory_growing(0, 1 << 17, None).is_ok_and(|granted| !granted));
        let memory = Exceeded { what: "memory", asked: 1 << 17, limit: 1 << 16 };
        assert_eq!(meter.exceeded(), Some(memory));
    }
}
