//! Compiles `proto/` in pure Rust (no protoc on the machine) and keeps the encoded descriptor set, comments included, for
//! reflection and for protobuf JSON.

use std::{env, error::Error, fs, path::Path};

const FILES: [&str; 8] = [
    "causerie/v1/agent_service.proto",
    "causerie/v1/batch_service.proto",
    "causerie/v1/conversation_service.proto",
    "causerie/v1/model_service.proto",
    "causerie/v1/watch_service.proto",
    "causerie/v1/webhook_service.proto",
    "google/longrunning/operations.proto",
    "causerie/v1/error.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // The encoded form keeps custom options (field_behavior), which the decoded one loses.
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("causerie.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // Ordered maps encode the same way every time: request fingerprints depend on it.
        .btree_map(".causerie")
        .compile_well_known_types(false)
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
