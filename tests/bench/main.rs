//! Benchmarks, one module each: `vipd-bench NAME [ARGUMENTS]`. They need root.

mod responder;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match name.as_str() {
        "responder" => responder::run(&arguments),
        _ => bail!("there is no benchmark {name:?}: try responder"),
    }
}
