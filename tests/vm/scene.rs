//! Tests that share one krsi-host: its start is most of a test's time in an emulated guest.
//!
//! A scene brings the lines that its host is started with, acts once the host is ready, and looks once more when
//! the host has ended. Its rules stay in force until then, so that they name what is the scene's own.

use serde_json::Value;

use super::Boot;
use crate::harness::{Guest, Host};

/// What the scenes of one host have in common: how it is started with the lines of all of them.
pub(crate) struct Stage {
    /// Name of the stage, and of the folder of its host.
    pub(crate) name: &'static str,
    /// How a host is started in a folder of its own, with the lines of all scenes.
    pub(crate) start: fn(&Guest, &[String]) -> anyhow::Result<Host>,
}

/// What a scene does while the host runs.
type DuringRun<'a> = Box<dyn FnOnce(&Host) -> anyhow::Result<()> + 'a>;
/// What is true once the host has ended, by its summary.
type AfterRun<'a> = Box<dyn FnOnce(&Value) -> anyhow::Result<()> + 'a>;

/// One test of a stage.
pub(crate) struct Scene<'a> {
    pub(crate) lines: Vec<String>,
    pub(crate) act: DuringRun<'a>,
    pub(crate) end: AfterRun<'a>,
}

impl<'a> Scene<'a> {
    /// A scene whose host is started with lines.
    pub(crate) fn new(
        lines: Vec<String>,
        act: impl FnOnce(&Host) -> anyhow::Result<()> + 'a,
    ) -> Self {
        Self { lines, act: Box::new(act), end: Box::new(|_| Ok(())) }
    }

    /// The scene with what else is true once its host has ended.
    pub(crate) fn ending(self, end: impl FnOnce(&Value) -> anyhow::Result<()> + 'a) -> Self {
        let Self { lines, act, end: before } = self;
        Self {
            lines,
            act,
            end: Box::new(move |summary| before(summary).and_then(|()| end(summary))),
        }
    }
}

/// Makes a scene: its files, its lines.
pub(crate) type Make = for<'a> fn(&'a Guest) -> anyhow::Result<Scene<'a>>;

/// One test that is a scene: its name, its boot, its stage, what makes it.
pub(crate) type SceneTest = (&'static str, Boot, &'static Stage, Make);

/// The sentry with the lines as its configuration.
pub(crate) const SENTRY: Stage =
    Stage { name: "stage-sentry", start: |guest, lines| guest.host("sentry", &lines.join("\n")) };
