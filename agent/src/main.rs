//! Reads the arguments and runs the command.

fn main() -> std::process::ExitCode {
    glovebox::cli::main(std::env::args_os())
}
