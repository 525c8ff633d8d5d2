//! Builds the zygote, whose executable the core carries with it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

const SOURCES: [&str; 4] =
    ["rust/zygote/main.rs", "rust/zygote/order.rs", "rust/zygote/system_call.rs", "rust/program.rs"];

fn main() -> io::Result<()> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let image = Path::new(&variable("OUT_DIR")).join("zygote");
    let known = variable("CARGO_CFG_TARGET_OS") == "linux"
        && ["x86_64", "aarch64"].iter().any(|name| variable("CARGO_CFG_TARGET_ARCH") == *name)
        && variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64";
    let mut compiler = Command::new(variable("RUSTC"));
    compiler.args(["--crate-name", "zygote", "--crate-type", "bin", "--edition", "2024", "--target"]);
    compiler.arg(variable("TARGET")).arg("-o").arg(&image).arg(SOURCES[0]);
    // Whatever the core is built with: of these few lines, nothing is left out that a debugger would want, and nothing of
    // the standard library is there.
    for option in
        ["opt-level=s", "panic=abort", "relocation-model=static", "target-feature=+crt-static", "strip=symbols"]
    {
        compiler.args(["-C", option]);
    }
    for option in ["-nostartfiles", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,norelro"] {
        compiler.arg(format!("-Clink-arg={option}"));
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        compiler.arg("-C").arg([OsString::from("linker="), linker].into_iter().collect::<OsString>());
    }
    let built = known && compiler.status().is_ok_and(|status| status.success());
    if !built {
        // The core makes processes itself then.
        if known {
            println!("cargo::warning=the spawning helper could not be built: commands start without it");
        }
        fs::write(&image, b"")?;
    }
    Ok(())
}
