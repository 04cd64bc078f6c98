//! Bugs of the kind that sync protocols have had, planted one at a time in a copy of the core: the simulation has to find
//! each of them. A text that is no longer in the code is an error, so that the list follows the code.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{cargo, run as run_command};
use crate::ui;
use crate::workspace::Workspace;

/// Seconds in which a bug has to be found.
const LIMIT: &str = "60";

struct Bug {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const BUGS: &[Bug] = &[
    Bug {
        name: "acknowledged before it is committed",
        file: "shared/src/session/active.rs",
        from: "        out.push(Output::Store(NewBlob {",
        to: "        out.push(Output::Send(Message::PushAck(PushAck { blob_id: push.blob_id, \
             cursor: self.max_cursor + 1, timestamp: crate::time::Timestamp::default() })));\n\
             out.push(Output::Store(NewBlob {",
    },
    Bug {
        name: "the bookmark moves before the log has the blob",
        file: "shared/src/engine/session.rs",
        from: "                self.receive(Received::Blob(blob));",
        to: "                let relay_id = session.relay_id;\n\
             if let Some(bookmark) = self.state.bookmarks.get_mut(&relay_id) {\n\
             bookmark.cursor = bookmark.cursor.max(blob.cursor);\n}\n\
             self.receive(Received::Blob(blob));",
    },
    Bug {
        name: "deduplication by blob id only, in what is at hand",
        file: "shared/src/engine/staging.rs",
        from: "        if !self.stage_seen(blob.sender, plain.seq, work) {\n            return;\n        }",
        to: "        if !self.stage_seen(blob.sender, plain.seq, work)\n\
             && batch.writes.iter().any(|write| matches!(write, Write::Append { record, .. } if \
             record.blob_id == blob.blob_id))\n{\nreturn;\n}",
    },
    Bug {
        name: "the relay takes blobs of its current epoch only",
        file: "shared/src/session/active.rs",
        from: "push.epoch > self.epoch",
        to: "push.epoch != self.epoch",
    },
    Bug {
        name: "the outbox forgets a blob when it is sent",
        file: "shared/src/engine/outbox.rs",
        from: "            self.unsent[at].sent = true;",
        to: "            self.unsent.remove(at);",
    },
    Bug {
        name: "a relay that was set back and has grown again is trusted",
        file: "shared/src/engine/session.rs",
        from: "    let mut after = 0;",
        to: "    if bookmark.cursor > 0 {\nreturn Some(bookmark.cursor);\n}\nlet mut after = 0;",
    },
    Bug {
        name: "a relay that lost its past gets nothing back",
        file: "shared/src/engine/session.rs",
        from: "unsure.then(|| Repair::new(held_to))",
        to: "(false && unsure).then(|| Repair::new(held_to))",
    },
    Bug {
        name: "what a lost session brought is mixed with what the next one brings",
        file: "shared/src/engine/group.rs",
        from: "        self.forget_received(self.staging);",
        to: "",
    },
    Bug {
        name: "a relay's new life is told the cursor of its former one",
        file: "shared/src/engine/session.rs",
        from: ".filter(|_| !void)",
        to: ".filter(|_| true || void)",
    },
    Bug {
        name: "a device that comes back begins its sequence at 1",
        file: "shared/src/engine/staging.rs",
        from: "own.highest().max(work.state.own_seq).saturating_add(1)",
        to: "own.highest() + 1",
    },
    Bug {
        name: "an old session hears nothing of a new epoch",
        file: "shared/src/session/active.rs",
        from: "        if !self.superseded {",
        to: "        if !self.superseded && self.epoch == u32::MAX {",
    },
    Bug {
        name: "a failed write is taken for a written one",
        file: "shared/src/engine/writes.rs",
        from: "            return self.on_write_failed(now, staged, &error, out);",
        to: "            let _ = (&error, Self::on_write_failed as usize);",
    },
    Bug {
        name: "new keys make a device forget the former ones",
        file: "shared/src/engine/keys.rs",
        from: "            let epochs = self.membership.epochs.iter();",
        to: "            let epochs = self.membership.epochs.iter().rev().take(1);",
    },
    Bug {
        name: "what is deleted before it was sent is not sent empty",
        file: "shared/src/engine/deletes.rs",
        from: "let unsent = self.outbox.contains(record.position) && !sent;",
        to: "let unsent = false && !sent;",
    },
    Bug {
        name: "what a snapshot stands in for does not count as seen",
        file: "shared/src/engine/snapshots.rs",
        from: "            known.merge(seen);",
        to: "            let _ = (known, seen);",
    },
];

/// Plants each bug and simulates until it is found.
pub(super) fn run(ws: &Workspace) -> Result<()> {
    let copy = ws.root.join("target/planted");
    let mut rows = Vec::new();
    let mut missed = Vec::new();
    for bug in BUGS {
        ui::doing(bug.name);
        prepare(ws, &copy)?;
        plant(&copy, bug)?;
        let build = [
            "build",
            "--quiet",
            "--profile",
            "sim",
            "--package",
            "zerok-sync-sim",
        ];
        let mut build_command = cargo(&copy);
        // The bug is the point; what the compiler thinks of its style is not.
        let build_command = build_command.args(build).env("RUSTFLAGS", "-Awarnings");
        // Each differs from the one before in a few lines.
        let build_command = build_command.env("CARGO_PROFILE_SIM_INCREMENTAL", "true");
        // Not where the workspace is built, if that is elsewhere.
        run_command(build_command.env("CARGO_TARGET_DIR", copy.join("target")))?;
        let start = Instant::now();
        let seeds = u32::MAX.to_string();
        let output = Command::new(copy.join("target/sim/zerok-sim"))
            .args(["--seeds", &seeds, "--time", LIMIT, "--brief"])
            .output()
            .context("the simulation does not start")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.lines().find(|line| line.contains(" fails with "));
        let what = match found {
            Some(line) if !output.status.success() => short(line),
            _ => {
                missed.push(bug.name);
                "NOT FOUND".to_owned()
            }
        };
        rows.push(vec![bug.name.to_owned(), ui::since(start), what]);
    }
    print!("{}", ui::table(&rows));
    ensure!(
        missed.is_empty(),
        "the simulation does not find: {}",
        missed.join("; ")
    );
    Ok(())
}

/// What broke, without seed and faults.
fn short(line: &str) -> String {
    let message = line
        .split_once(" fails with ")
        .map_or(line, |(_, rest)| rest);
    let message = message.split_once(": ").map_or(message, |(_, rest)| rest);
    message.chars().take(70).collect()
}

/// A workspace of its own with nothing but the core and the simulation; what was built of it before is kept.
fn prepare(ws: &Workspace, copy: &Path) -> Result<()> {
    for folder in ["shared", "tests"] {
        if copy.join(folder).exists() {
            fs::remove_dir_all(copy.join(folder))?;
        }
    }
    for folder in ["shared", "tests/sim"] {
        copy_tree(&ws.root.join(folder), &copy.join(folder))?;
    }
    let manifest = fs::read_to_string(ws.root.join("Cargo.toml"))?;
    let members = manifest
        .find("members = [")
        .context("no members in Cargo.toml")?;
    let end = manifest[members..].find(']').context("no end of members")? + members;
    let manifest = format!(
        "{}members = [\"shared\", \"shared/aead\", \"tests/sim\"{}",
        &manifest[..members],
        &manifest[end..]
    );
    fs::write(copy.join("Cargo.toml"), manifest)?;
    fs::copy(ws.root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn plant(copy: &Path, bug: &Bug) -> Result<()> {
    let path = copy.join(bug.file);
    let code = fs::read_to_string(&path)?;
    let count = code.matches(bug.from).count();
    if count != 1 {
        bail!(
            "{:?} cannot be planted: its text is {count} times in {}; adapt xtask/src/sim/planted.rs",
            bug.name,
            bug.file
        );
    }
    fs::write(path, code.replacen(bug.from, bug.to, 1))?;
    Ok(())
}
