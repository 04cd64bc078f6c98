//! The container image of the relay.
//!
//! Its last stage starts from nothing and copies a file system out of the stage before, so it can be built from a relay that
//! was compiled here: without a daemon, without a base image, without the network.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, output, run as run_command, succeeds_within, which};
use crate::programs;
use crate::ui;
use crate::workspace::Workspace;

/// How long a relay in a container may take until it is well.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a tool may take to say that it works here.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const DOCKERFILE: &str = "relay/ops/Dockerfile";

#[derive(clap::Args)]
pub struct Args {
    /// Name of the image.
    #[arg(long, default_value = "zerok-relay")]
    tag: String,
    /// Compiles inside the image's first stage, from a base image of a registry, instead of here.
    #[arg(long)]
    inside: bool,
}

/// What builds images, best first for people who have several.
const TOOLS: [&str; 3] = ["docker", "podman", "buildah"];

/// `cargo xtask image`.
pub fn run(ws: &Workspace, args: &Args) -> Result<()> {
    let tool = TOOLS.into_iter().find(|tool| works(tool));
    let tool =
        tool.context("no tool that builds images works here: install buildah, podman or Docker")?;
    let mut build = Command::new(tool);
    build
        .arg("build")
        .args(["--file", DOCKERFILE, "--tag", &args.tag]);
    if args.inside {
        build.arg(".");
    } else {
        ui::doing("compiling the relay…");
        let release = [
            "build",
            "--release",
            "--package",
            "zerok-sync-relay",
            "--bin",
            "zerok-relay",
        ];
        run_command(cargo(&ws.root).args(release))?;
        let stage = first_stage(ws, &ws.binary("release", "zerok-relay"))?;
        build
            .arg("--build-context")
            .arg(context(&stage))
            .arg(&stage);
    }
    if tool != "docker" {
        // Otherwise the health check is left out.
        build.args(["--format", "docker"]);
    }
    run_command(build.current_dir(&ws.root))?;
    ui::done(&format!("image {} (by {tool})", args.tag));
    Ok(())
}

/// The step of `cargo xtask test`: builds the last stage around the relay of the tests, starts it as the image says, and asks it
/// how it is by the image's own health check.
pub fn test(ws: &Workspace) -> Result<()> {
    if !works("buildah") {
        ui::note("NOT BUILT: no tool that builds an image without a daemon (buildah) works here");
        return Ok(());
    }
    programs::build(ws)?;
    let stage = first_stage(ws, &ws.binary("debug", "zerok-relay"))?;
    let buildah = Buildah(ws.scratch("image/store"));
    buildah.remove_all()?;
    let built = buildah.check(&stage, &ws.root);
    buildah.remove_all()?;
    built?;
    ui::note(
        "NOT BUILT: the first stage, which compiles the relay on top of a base image from a registry",
    );
    Ok(())
}

fn works(tool: &str) -> bool {
    which(tool).is_some() && succeeds_within(Command::new(tool).arg("info"), ANSWER_LIMIT)
}

/// A folder that looks like the first stage.
fn first_stage(ws: &Workspace, relay: &Path) -> Result<PathBuf> {
    let stage = ws.scratch("image/stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("can't empty {}", stage.display()))?;
    }
    fs::create_dir_all(&stage).with_context(|| format!("can't create {}", stage.display()))?;
    let stripped = stage.join("zerok-relay");
    run_command(Command::new("strip").arg("-o").arg(&stripped).arg(relay))?;
    let script = ws.path("relay/ops/rootfs.sh");
    run_command(
        Command::new(script)
            .arg(&stripped)
            .arg(stage.join("rootfs")),
    )?;
    fs::remove_file(&stripped).with_context(|| format!("can't remove {}", stripped.display()))?;
    Ok(stage)
}

/// Puts a folder in the place of the first stage.
fn context(stage: &Path) -> String {
    format!("build={}", stage.display())
}

/// buildah with a store of its own, so that nothing of this machine's is touched.
struct Buildah(PathBuf);

impl Buildah {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.0.join("root"));
        command.arg("--runroot").arg(self.0.join("run"));
        command.args(arguments);
        command
    }

    fn remove_all(&self) -> Result<()> {
        if self.0.exists() {
            run_command(self.command(&["rm", "--all"]).stdout(Stdio::null()))?;
            run_command(
                self.command(&["rmi", "--all", "--force"])
                    .stdout(Stdio::null()),
            )?;
        }
        Ok(())
    }

    fn check(&self, stage: &Path, root: &Path) -> Result<()> {
        let mut build = self.command(&[
            "build",
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--quiet",
        ]);
        build.args(["--tag", "zerok-relay", "--file", DOCKERFILE]);
        build.arg("--build-context").arg(context(stage)).arg(stage);
        run_command(build.current_dir(root).stdout(Stdio::null()))?;
        let container = output(&mut self.command(&["from", "zerok-relay"]))?;
        let container = container.trim();
        let facts = "{{.Docker.Config.User}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Healthcheck.Test}}";
        let facts = output(&mut self.command(&["inspect", "--format", facts, container]))?;
        let expected =
            "65532:65532 [/usr/local/bin/zerok-relay] [CMD /usr/local/bin/zerok-relay health]";
        if facts.trim() != expected {
            bail!("the image is not as it should be: {facts}");
        }
        let size = output(&mut self.command(&["images", "--format", "{{.Size}}", "zerok-relay"]))?;
        ui::done(&format!("image of a debug build: {}", size.trim()));

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()
            .to_string();
        let inside = |arguments: &[&str]| {
            let mut run = self.command(&["run", "--isolation", "chroot", container, "--"]);
            run.args(["/usr/local/bin/zerok-relay"])
                .args(arguments)
                .args(["--port", &port]);
            run
        };
        let log = self.0.join("relay.log");
        let errors =
            fs::File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let mut started = inside(&[]);
        started.stdout(Stdio::null()).stderr(errors);
        let mut relay = Stopped(started.spawn().context("buildah does not start")?);
        let start = Instant::now();
        while !succeeds_within(&mut inside(&["health"]), ANSWER_LIMIT) {
            if let Some(status) = relay.0.try_wait()? {
                bail!(
                    "the relay in the container has ended ({status}); see {}",
                    log.display()
                );
            }
            if start.elapsed() > START_LIMIT {
                bail!(
                    "the relay in the container is not well after {}",
                    ui::duration(START_LIMIT)
                );
            }
            thread::sleep(Duration::from_millis(200));
        }
        ui::done("it runs as a user of its own, and its health check finds it well");
        Ok(())
    }
}

/// A process that does not outlive this.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // By the signal that buildah hands on; a kill would leave the relay behind.
        let id = self.0.id().to_string();
        let asked = Command::new("kill").arg(OsStr::new(&id)).status();
        if asked.is_ok_and(|status| status.success()) {
            let _ = self.0.wait();
        }
    }
}
