//! `stockade`.

fn main() -> std::process::ExitCode {
    stockade_cli::main()
}
