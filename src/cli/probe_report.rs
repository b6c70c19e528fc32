//! What `hive probe` says of its probes.

use serde_json::{Value, json};

use crate::data::classes::{ClassSet, Part};
use crate::model::config::VisionConfig;
use crate::train::class_probe::{Judged, Pace};

/// Most classes whose confusions are shown as a table.
const TABLE: usize = 20;
/// Confusions that are shown of more classes.
const PAIRS: usize = 20;
/// What is done otherwise than in the paper.
const DIFFERS: &str = "without the paper's augmentation (features are computed once), in f32, one run";

/// A probe and its scores.
pub(super) struct Scored {
    pub(super) kind: &'static str,
    pub(super) pace: Pace,
    pub(super) judged: Judged,
}

/// All that is said.
pub(super) struct Report<'a> {
    pub(super) set: &'a ClassSet,
    pub(super) tower: &'a VisionConfig,
    /// Hidden-state index of the tower.
    pub(super) depth: usize,
    pub(super) model: &'a str,
    pub(super) seed: u64,
    /// The file of the features.
    pub(super) features: &'a str,
    pub(super) scored: Vec<Scored>,
}

impl Report<'_> {
    fn count(&self, part: Part) -> usize {
        self.set.counts(part).iter().sum()
    }

    /// As JSON, in a line.
    pub(super) fn json(&self) -> Value {
        let (classes, tested) = (self.set.classes.len(), self.count(Part::Test));
        let share = |hits: usize| hits as f64 / tested.max(1) as f64;
        let probe = |scored: &Scored| {
            let Judged { steps, batch, loss, top1, top5, confusion } = &scored.judged;
            let rows: Vec<&[u32]> = confusion.chunks(classes).collect();
            json!({"kind": scored.kind, "steps": steps, "batch": batch, "learning_rate": scored.pace.learning_rate,
                "loss": loss, "top1": share(*top1), "top5": share(*top5), "confusion": rows})
        };
        let v = self.tower;
        json!({
            "set": self.set.kind.name(), "classes": self.set.classes,
            "train": self.count(Part::Train), "test": tested, "seed": self.seed,
            "model": self.model, "state": self.depth, "layers": v.num_hidden_layers, "patches": v.tokens(), "width": v.hidden_size,
            "features": self.features, "probes": self.scored.iter().map(probe).collect::<Vec<_>>(),
            "differs": DIFFERS, "notes": self.set.notes,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (v, set) = (self.tower, self.set);
        let (trained, tested) = (self.count(Part::Train), self.count(Part::Test));
        let mut out = format!(
            "{}: {} classes, {trained} pictures to train, {tested} to test\n",
            set.kind.name(),
            set.classes.len()
        );
        out += &format!(
            "tower of {}: state {} of {}, {} patches of width {}; features in {}\n",
            self.model,
            self.depth,
            v.num_hidden_layers,
            v.tokens(),
            v.hidden_size,
            self.features
        );
        out += &format!("as the paper probes, but {DIFFERS}: hive probe --help says the rest\n");
        for Scored { kind, pace, judged } in &self.scored {
            let share = |hits: usize| hits as f64 / tested.max(1) as f64;
            out += &format!(
                "\n{kind} probe: top-1 {:.4}, top-5 {:.4} ({} steps of {}, learning rate {}, last loss {:.4})\n",
                share(judged.top1),
                share(judged.top5),
                judged.steps,
                judged.batch,
                pace.learning_rate,
                judged.loss
            );
            out += &self.confusion(&judged.confusion);
        }
        out
    }

    /// What was taken for what: a table, or of many classes the most frequent confusions.
    fn confusion(&self, counts: &[u32]) -> String {
        let names = &self.set.classes;
        if names.len() > TABLE {
            let mut pairs: Vec<(u32, usize)> = counts.iter().copied().zip(0..).filter(|(n, _)| *n > 0).collect();
            pairs.retain(|(_, at)| at / names.len() != at % names.len());
            pairs.sort_by_key(|(n, at)| (std::cmp::Reverse(*n), *at));
            let line = |(n, at): &(u32, usize)| {
                format!("{n:>6}  {} taken for {}\n", names[at / names.len()], names[at % names.len()])
            };
            let shown: String = pairs.iter().take(PAIRS).map(line).collect();
            return format!("most frequent confusions, of {} kinds (--json has all)\n{shown}", pairs.len());
        }
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let head: String = (0..names.len()).map(|i| format!("{i:>6}")).collect();
        let mut out = format!("{:width$}      {head}  (rows: the class; columns: what it was taken for)\n", "");
        for (i, (name, row)) in names.iter().zip(counts.chunks(names.len())).enumerate() {
            let cells: String = row.iter().map(|n| format!("{n:>6}")).collect();
            out += &format!("{name:width$}  {i:>4}{cells}\n");
        }
        out
    }
}
