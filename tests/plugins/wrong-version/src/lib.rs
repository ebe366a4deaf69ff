//! Speaks version 9.9.0 of the contract.
#![allow(missing_docs, reason = "generated bindings")]

wit_bindgen::generate!({ path: "wit", world: "plugin" });

struct WrongVersion;

impl Guest for WrongVersion {
    fn describe() -> String {
        String::from("from the future")
    }
}

export!(WrongVersion);
