//! Speaks the contract but leaves out two of its functions.
#![allow(missing_docs, reason = "generated bindings")]

wit_bindgen::generate!({ path: "wit", world: "plugin" });

struct Incomplete;

impl Guest for Incomplete {
    fn init(_config: Vec<u8>, _seed: u64) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn snapshot() -> Vec<u8> {
        Vec::new()
    }

    fn restore(_from_version: String, _state: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

export!(Incomplete);
