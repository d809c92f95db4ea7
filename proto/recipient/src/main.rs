//! Reads the arguments and runs the command.

fn main() -> std::process::ExitCode {
    glovebox_recipient::command::main(std::env::args_os())
}
