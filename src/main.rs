//! The `vfadm` program.

fn main() -> std::process::ExitCode {
    vfadm::main(std::env::args_os().collect()).into()
}
