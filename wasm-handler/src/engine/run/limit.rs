//! The container's memory limit as the guest sees it: a `memory.grow` that fails, before the kernel has to kill.

use wasmtime::ResourceLimiter;

/// What an element of a table takes in this process, at most.
const TABLE_ELEMENT: usize = 16;

/// What the guest's memories and tables may still grow by, all together.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    left: Option<usize>,
}

impl MemoryLimit {
    pub(super) fn new(bytes: Option<u64>) -> MemoryLimit {
        MemoryLimit {
            left: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        match left.checked_sub(bytes) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond the memory's own maximum the engine refuses after asking here: that takes nothing.
        let beyond = maximum.is_some_and(|maximum| desired > maximum);
        Ok(!beyond && self.take(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let beyond = maximum.is_some_and(|maximum| desired > maximum);
        let bytes = desired
            .saturating_sub(current)
            .saturating_mul(TABLE_ELEMENT);
        Ok(!beyond && self.take(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65536;

    #[test]
    fn all_memories_share_one_limit() {
        let mut limit = MemoryLimit::new(Some(3 * PAGE as u64));
        assert!(limit.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(!limit.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(limit.memory_growing(0, PAGE, None).unwrap());
        assert!(!limit.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn a_growth_that_the_module_itself_forbids_takes_nothing() {
        let mut limit = MemoryLimit::new(Some(PAGE as u64));
        assert!(!limit.memory_growing(0, PAGE, Some(PAGE - 1)).unwrap());
        assert!(limit.memory_growing(0, PAGE, Some(PAGE)).unwrap());
    }

    #[test]
    fn without_a_limit_everything_may_grow() {
        let mut limit = MemoryLimit::new(None);
        assert!(limit.memory_growing(0, 1 << 32, None).unwrap());
    }
}
