//! The hot path allocates for each batch, never for each event.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use krsi_host::facade::{
    CallLayouts, Delivery, PluginSlot, ProcessChange, ProcessTable, Queue, RawRecord, Router,
    Scope, Subscription, decode,
};
use krsi_host_abi::deny::{FileKey, ProcessKey};
use krsi_host_abi::record::{FileOpen, Header, Text};
use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::{Hook, HookSet};
use zerocopy::IntoBytes;

/// Counts what the testing thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record() -> Vec<u8> {
    let path = b"/usr/lib/libc.so.6";
    let header = Header {
        abi: u16::try_from(krsi_host_abi::ABI_VERSION).unwrap_or(0),
        hook: krsi_host_abi::hook::Hook::FileOpen.id(),
        cpu: 0,
        boot_ns: 1,
        process: ProcessKey { start_boot_ns: 1_000_000, tgid: 1000, pad: 0 },
        parent: ProcessKey { start_boot_ns: 1, tgid: 1, pad: 0 },
        tid: 1000,
        uid: 0,
        gid: 0,
        mount_ns: 1,
        cgroup_id: 0,
        rule_id: 0,
        errno: 0,
        verdict: 0,
        owner: 0,
        pad: 0,
        labels: 0,
        given: 0,
        comm: [b'a'; 16],
    };
    let path_at = Text { offset: 0, len: path.len() as u16, flags: 0, pad: 0 };
    let file = FileKey { ino: 1, dev: 1, generation: 0 };
    let body = FileOpen { file, path: path_at, flags: 0, mode: 0 };
    [header.as_bytes(), body.as_bytes(), path].concat()
}

#[test]
fn a_batch_costs_the_same_however_many_events_it_holds() {
    let record = record();
    let (mut router, mut processes) = (Router::default(), ProcessTable::default());
    let queue = Arc::new(Queue::new(1 << 20));
    let hooks = HookSet::default().with(Hook::FileOpen);
    let (slot, scope, layouts) = (PluginSlot(0), Scope::System, CallLayouts::default());
    let queued = Arc::clone(&queue);
    router.subscribe(&Subscription {
        slot,
        schema: Schema::V0_2,
        hooks,
        denied: HookSet(0),
        scope,
        filters: Arc::default(),
        queue: queued,
    });
    let mut batches = |events: u32| {
        let before = COUNT.with(Cell::get);
        for _ in 0..100 {
            for _ in 0..events {
                let raw = RawRecord::parse(&record).unwrap();
                let decoded = decode(&raw, &layouts).unwrap();
                let change = ProcessChange::of(&decoded.event);
                let meta = &decoded.event.meta;
                processes.observe(meta, decoded.parent, change, &mut |_| String::new());
                router.route(&decoded.event, None, &processes).unwrap();
                router.follow(change);
            }
            router.flush(1, 0);
            assert!(matches!(queue.pop(None), Delivery::Batch(batch) if batch.records() == events));
        }
        COUNT.with(Cell::get) - before
    };
    // Buffers grow to their size first.
    batches(512);
    let (few, many) = (batches(1), batches(512));
    assert_eq!(few, many, "allocations of 100 batches of 1 and of 512 events");
    assert!(many <= 200, "{many} allocations for 100 batches");
}
