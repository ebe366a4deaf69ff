//! A census of the next major version that asks for more than its predecessor.

use krsi_plugin::{Ctx, Hook, Manifest, Plugin};

struct Census;

impl Plugin for Census {
    fn manifest() -> Manifest {
        Manifest::new("census", "3.0.0")
            .hook(Hook::BprmCommittedCreds)
            .hook(Hook::FileOpen)
            .hook(Hook::SocketConnect)
            .deny_by_file()
            .deny_by_lineage()
            .deny_hook(Hook::FileOpen)
            .watch("inode_getattr: path")
            .watch("file_open if current.comm == \"nobody\" deny EPERM")
            .watch("path_rmdir: dir.dentry.d_parent.d_name.name as above")
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self)
    }
}

krsi_plugin::export!(Census);
