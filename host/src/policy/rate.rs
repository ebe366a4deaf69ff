//! Allowances: how many actions of a kind a plugin may do a second.

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// An allowance that refills with time; a second's worth can be used at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    per_second: u32,
    left: u32,
    /// Time of the last refill of `left`, nanoseconds of `CLOCK_BOOTTIME`.
    refilled_boot_ns: u64,
}

impl Allowance {
    /// A full allowance.
    #[must_use]
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, refilled_boot_ns: 0 }
    }

    /// Uses one, if there is one.
    pub(crate) fn take(&mut self, now_boot_ns: u64) -> bool {
        let each = SECOND_NS / u64::from(self.per_second.max(1));
        let grown = now_boot_ns.saturating_sub(self.refilled_boot_ns) / each;
        if grown >= u64::from(self.per_second) {
            self.left = self.per_second;
            self.refilled_boot_ns = now_boot_ns;
        } else if let Ok(grown) = u32::try_from(grown) {
            self.left = self.left.saturating_add(grown).min(self.per_second);
            self.refilled_boot_ns += u64::from(grown) * each;
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_back_a_seconds_worth() {
        let mut allowance = Allowance::new(100);
        let take = |allowance: &mut Allowance, at| (0..300).filter(|_| allowance.take(at)).count();
        assert_eq!(take(&mut allowance, 5 * SECOND_NS), 100);
        assert_eq!(take(&mut allowance, 5 * SECOND_NS + SECOND_NS / 10), 10);
        assert_eq!(take(&mut allowance, 4 * SECOND_NS), 0);
        assert_eq!(take(&mut allowance, 60 * SECOND_NS), 100);
    }
}
