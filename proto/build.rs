//! Compiles the `.proto` files without an installed `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["glovebox/v1/envelope.proto", "glovebox/v1/batch.proto"];
    let set = protox::compile(files, ["."])?;
    prost_build::Config::new().compile_fds(set)?;
    Ok(())
}
