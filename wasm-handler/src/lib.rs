//! The Wasm side of Tandem.
