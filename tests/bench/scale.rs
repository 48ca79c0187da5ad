//! `vipd-bench scale`
pub(crate) mod daemon;
pub(crate) mod process;

pub(crate) fn run(_: &[String]) -> anyhow::Result<()> {
    Ok(())
}
