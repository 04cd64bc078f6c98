//! `zerok completions`, `zerok man`

use std::io::Error;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::{EXIT_DONE, Failure};
use crate::output::Output;

pub fn completions(shell: Shell, output: Output) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zerok", &mut script);
    output.bytes(&script)?;
    Ok(EXIT_DONE)
}

pub fn man(out: Option<&Path>, output: Output) -> Result<u8, Failure> {
    let failed = |error: Error| Failure::new("FILE_UNWRITABLE", error.to_string());
    let mut command = Cli::command();
    command.build();
    let Some(folder) = out else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(failed)?;
        output.bytes(&page)?;
        return Ok(EXIT_DONE);
    };
    let failed = |error: Error| {
        let text = format!("{} can't be written: {error}", folder.display());
        Failure::new("FILE_UNWRITABLE", text)
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    for page in pages(command) {
        let man = Man::new(page);
        let name = man.get_filename();
        let mut bytes = Vec::new();
        man.render(&mut bytes).map_err(failed)?;
        std::fs::write(folder.join(&name), bytes).map_err(failed)?;
        output.line(&name)?;
        output.object(&serde_json::json!({ "page": name }))?;
    }
    Ok(EXIT_DONE)
}

/// The page of the program, and one for each of its commands.
fn pages(command: Command) -> Vec<Command> {
    let of_commands: Vec<_> = command.get_subcommands().cloned().collect();
    std::iter::once(command).chain(of_commands).collect()
}
