//! One vipd daemon with many groups.
pub(crate) fn run(_: &[String]) -> anyhow::Result<()> {
    Ok(())
}
