//! What packages install beside the program: manual pages and completions, made of
//! the command line's own definition. `cargo xtask dist-docs` runs it.
//!
//! The program itself does not carry them, nor what makes them.

mod manual;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Writes below the directory that is its only argument.
fn main() -> Result<()> {
    let directory: PathBuf = std::env::args_os()
        .nth(1)
        .context("give the directory to write to")?
        .into();
    for path in manual_pages(&directory)?
        .into_iter()
        .chain([configuration(&directory)?])
        .chain(completions(&directory)?)
    {
        println!("{}", path.display());
    }
    Ok(())
}

/// `vipd(8)`, and a page for each verb.
fn manual_pages(directory: &Path) -> Result<Vec<PathBuf>> {
    let directory = directory.join("man8");
    fs::create_dir_all(&directory)?;
    let mut command = vipd::cli::Cli::command().disable_help_subcommand(true);
    // Hands the flags that all verbs have down to them.
    command.build();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut written = Vec::new();
    for command in std::iter::once(&command).chain(verbs) {
        let name = match command.get_name() {
            "vipd" => "vipd".to_owned(),
            verb => format!("vipd-{verb}"),
        };
        let command = command.clone().display_name(name.clone());
        let page = clap_mangen::Man::new(command)
            .title(name.to_uppercase())
            .section("8")
            .source(format!("vipd {}", env!("CARGO_PKG_VERSION")))
            .manual("System administration");
        let path = directory.join(format!("{name}.8"));
        page.render(&mut fs::File::create(&path)?)?;
        written.push(path);
    }
    Ok(written)
}

/// `vipd.toml(5)`: what the reference says of every key, which vipd's own tests see to.
fn configuration(directory: &Path) -> Result<PathBuf> {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let markdown = fs::read_to_string(&reference)
        .with_context(|| format!("cannot read {}", reference.display()))?;
    let title = "the configuration of vipd";
    let page = manual::page("vipd.toml", title, env!("CARGO_PKG_VERSION"), &markdown)?;
    let path = directory.join("man5/vipd.toml.5");
    fs::create_dir_all(path.parent().context("it has a parent")?)?;
    fs::write(&path, page)?;
    Ok(path)
}

/// One file for each shell, each where Debian's packages have it below `/usr/share`.
fn completions(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (shell, place) in [
        (Shell::Bash, "bash-completion/completions/vipd"),
        (Shell::Zsh, "zsh/vendor-completions/_vipd"),
        (Shell::Fish, "fish/vendor_completions.d/vipd.fish"),
    ] {
        let path = directory.join(place);
        fs::create_dir_all(path.parent().context("it has a parent")?)?;
        let mut command = vipd::cli::Cli::command();
        let mut file = fs::File::create(&path)?;
        clap_complete::generate(shell, &mut command, "vipd", &mut file);
        written.push(path);
    }
    Ok(written)
}
