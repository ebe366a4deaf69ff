//! Contract 0.2: its row, and its manifest, which is bytes.

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::Manifest;

use super::contract::contract;
use super::instance::{RawManifest, bind};
use super::{ContractRow, Describes};

/// This contract in the table.
pub(super) const ROW: ContractRow = ContractRow {
    version: (0, 2),
    exports: &["describe", "init", "handle", "snapshot", "restore"],
    imports: &["log", "level"],
    describes: Describes::Bytes,
    bind: bind::<bindings::Plugin>,
};

contract! { path: "../wit/v0.2", schema: Schema::V0_2, manifest: raw }

fn raw(manifest: Vec<u8>) -> RawManifest {
    Manifest::decode(&manifest)
}
