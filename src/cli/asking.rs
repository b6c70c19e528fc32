//! `hive eval --task --data --model`: a model answers a published set, line by line into a file that a later run takes up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::args::Args;
use super::chat::Chosen;
use super::fault::Fault;
use super::output::warn;
use super::progress::Progress;
use crate::data::chat::Message;
use crate::data::rng::{hash_bytes, splitmix64};
use crate::data::tasks::load::{Entry, Files, LoadError, Set};
use crate::data::tasks::{self, Rules, Task};
use crate::data::tiles::{Picture, Recipe};
use crate::engine::answers::assistant::{Assistant, End, Options};
use crate::platform::{Found, Lines, block_on, in_order, interrupted, now_secs, watch_signals};

/// Exit code of a program that a signal of this number ended.
const SIGNALLED: u8 = 128;

/// What is asked of whom.
pub(super) struct Asking<'a> {
    pub(super) args: &'a Args,
    pub(super) task: Task,
    pub(super) rules: Rules,
    pub(super) set: Set,
    pub(super) files: &'a Files<'a>,
}

/// At most so many items; of MME's pairs all or none.
pub(super) fn at_most(task: Task, entries: &mut Vec<Entry>, limit: usize) {
    if task != Task::Mme {
        entries.truncate(limit);
        return;
    }
    let mut ids: Vec<String> = Vec::new();
    for entry in entries.iter() {
        let id = task.key(&entry.item);
        if !ids.contains(&id) {
            ids.push(id);
            if ids.len() > limit / 2 {
                break;
            }
        }
    }
    ids.truncate(limit / 2);
    entries.retain(|entry| ids.contains(&task.key(&entry.item)));
}

/// A number for all that is asked.
fn hash_of(set: &Set) -> u64 {
    let one = |entry: &Entry| {
        let place = entry.picture.as_ref().map_or("", |place| place.name());
        hash_bytes(format!("{} {place}", json!(entry.item)).as_bytes())
    };
    set.entries.iter().fold(0, |sum, entry| splitmix64(sum ^ one(entry)))
}

/// The first line of the file: what its answers depend on.
fn header(asking: &Asking<'_>, chosen: &Chosen) -> Result<Value, Fault> {
    let option = |name: &str, usual: &str| asking.args.option(name).unwrap_or(usual).to_owned();
    Ok(json!({"header": {
        "task": asking.task.name(),
        "rules": asking.rules.title(),
        "items": asking.set.entries.len(),
        "data": format!("{:016x}", hash_of(&asking.set)),
        "model": format!("{:016x}", chosen.fingerprint(asking.args)?),
        "weights": option("weights", "f16"),
        "tiles": option("tiles", "all"),
        "hive": env!("CARGO_PKG_VERSION"),
    }}))
}

/// What two headers differ in.
fn differences(old: &Value, new: &Value) -> String {
    let fields = new["header"].as_object().into_iter().flatten();
    let other = fields.filter(|(name, value)| old["header"].get(*name) != Some(*value)).map(|(name, _)| name.as_str());
    other.collect::<Vec<_>>().join(", ")
}

/// The answers that the file has, by item. A file of another run is refused.
fn answered(
    found: &Found,
    header: &Value,
    out: &Path,
    set: &Set,
    task: Task,
) -> Result<BTreeMap<usize, String>, Fault> {
    let broken = |line: usize| {
        let out = out.display();
        Fault::Failed(format!(
            "{out}, line {line}: it is no answer of this command. Give another --out, or remove the file"
        ))
    };
    // A first line that is torn is this run's own, or somebody else's file.
    if found.lines.is_empty() && !header.to_string().as_bytes().starts_with(&found.torn) {
        return Err(broken(1));
    }
    let mut all = BTreeMap::new();
    for (i, line) in found.lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).map_err(|_broken| broken(i + 1))?;
        if i == 0 {
            if value.get("header").is_none() {
                return Err(broken(1));
            }
            if value != *header {
                return Err(Fault::Failed(format!(
                    "{} has the answers of another run: it differs in {}. Give another --out, or remove the file",
                    out.display(),
                    differences(&value, header)
                )));
            }
            continue;
        }
        let at = value["index"].as_u64().and_then(|at| usize::try_from(at).ok());
        let entry = at.and_then(|at| set.entries.get(at)).filter(|entry| value["id"] == task.key(&entry.item));
        let (Some(at), Some(_), Some(answer)) = (at, entry, value["answer"].as_str()) else {
            return Err(broken(i + 1));
        };
        all.insert(at, answer.to_owned());
    }
    Ok(all)
}

/// A run in the making.
struct Run<'a> {
    asking: &'a Asking<'a>,
    out: &'a Path,
    file: Lines,
    answers: BTreeMap<usize, String>,
}

impl Run<'_> {
    fn write(&mut self, value: &Value) -> Result<(), Fault> {
        self.file.add(&value.to_string()).map_err(|e| Fault::unwritable(self.out, &e))
    }

    /// Asks about an item, and writes what was answered. None: a signal came.
    fn answer(&mut self, assistant: &mut Assistant, i: usize, picture: Option<&Picture>) -> Result<Option<()>, Fault> {
        let Asking { task, rules, set, .. } = self.asking;
        let item = &set.entries[i].item;
        let failed = |e: &dyn std::fmt::Display| Fault::Failed(format!("item {i} ({}): {e}", task.key(item)));
        let prompt = task.prompt(item).map_err(|e| failed(&e))?;
        let messages = [Message::about(&prompt, usize::from(picture.is_some()))];
        let pictures: Vec<Picture> = picture.into_iter().cloned().collect();
        let options = Options { limit: task.limit(), ..Options::default() };
        let reply = block_on(assistant.reply(&messages, &pictures, &options, |_| interrupted().is_none()));
        let reply = reply.map_err(|e| failed(&e))?;
        let end = match reply.end {
            End::EndToken => "end",
            End::Stop => "stop",
            End::Limit => "limit",
            End::Full => "room",
            End::Cancelled => return Ok(None),
        };
        let id = task.key(item);
        let mut line = json!({"index": i, "id": id, "doc": item, "prompt": prompt, "answer": reply.text, "end": end});
        match tasks::read(*task, *rules, item, &reply.text) {
            Ok(reading) => {
                line["score"] = json!(reading.score);
                line["parsed"] = json!(reading.parsed);
            }
            Err(error) => line["error"] = json!(error.to_string()),
        }
        self.write(&line)?;
        self.answers.insert(i, reply.text);
        Ok(Some(()))
    }

    /// How far it is, as a sentence.
    fn said(&self) -> String {
        format!("{} of {} answers are in {}", self.answers.len(), self.asking.set.entries.len(), self.out.display())
    }

    /// Asks about these items; the next one's picture is made meanwhile.
    fn go_on(&mut self, assistant: &mut Assistant, recipe: Option<&Recipe>, rest: &[usize]) -> Result<(), Fault> {
        let Asking { set, files, .. } = self.asking;
        // Questions about one picture stand together: it is decoded, and goes through the tower, once.
        let last: Mutex<Option<(String, Arc<Picture>)>> = Mutex::new(None);
        let picture_of = |i: usize| -> Result<Option<Arc<Picture>>, LoadError> {
            let (Some(recipe), Some(place)) = (recipe, &set.entries[i].picture) else { return Ok(None) };
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, picture)) = last.as_ref().filter(|(name, _)| name == place.name()) {
                return Ok(Some(Arc::clone(picture)));
            }
            let picture = Arc::new(recipe.picture(&place.decode(files)?, true));
            *last = Some((place.name().to_owned(), Arc::clone(&picture)));
            Ok(Some(picture))
        };
        let (start, mut progress, mut result) = (now_secs(), Progress::new(), Ok(()));
        let before = self.answers.len();
        in_order(rest, &picture_of, &mut |i, picture| {
            let answered = picture.map_err(Fault::failed).and_then(|p| self.answer(assistant, i, p.as_deref()));
            result = match answered {
                Ok(Some(())) => Ok(()),
                Ok(None) => {
                    let signal = SIGNALLED + interrupted().unwrap_or_default();
                    Err(Fault::Ended(signal, format!("{}: the same command goes on", self.said())))
                }
                Err(fault) => Err(fault),
            };
            let secs = (now_secs() - start) / (self.answers.len() - before).max(1) as f64;
            let left = secs * (set.entries.len() - self.answers.len()) as f64;
            progress.show(|| format!("{}, {secs:.1} s each, {left:.0} s left", self.said()));
            result.is_ok()
        });
        result?;
        progress.end(&self.said());
        Ok(())
    }
}

/// Asks what is not answered yet; gives all answers in the order of the items.
pub(super) fn ask(asking: &Asking<'_>) -> Result<Vec<String>, Fault> {
    let Asking { args, task, set, .. } = asking;
    let name = format!("answers-{}.jsonl", task.name());
    let out = Path::new(args.option("out").unwrap_or(&name));
    let chosen = Chosen::of(args)?;
    let recipe = chosen.recipe();
    if recipe.is_none() {
        warn("this model takes no pictures: it is asked without\n");
    }
    let header = header(asking, &chosen)?;
    let (found, file) = Lines::open(out).map_err(|e| Fault::unwritable(out, &e))?;
    let mut run = Run { asking, out, file, answers: answered(&found, &header, out, set, *task)? };
    if found.lines.is_empty() {
        run.write(&header)?;
    }
    let rest: Vec<usize> = (0..set.entries.len()).filter(|i| !run.answers.contains_key(i)).collect();
    if !run.answers.is_empty() {
        warn(&format!("{} already\n", run.said()));
    }
    if !rest.is_empty() {
        let mut assistant = chosen.start(args)?;
        watch_signals();
        run.go_on(&mut assistant, recipe.as_ref(), &rest)?;
    }
    Ok(run.answers.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tasks::Item;

    #[test]
    fn pairs_stay_together() {
        let entry = |id: &str| {
            let item = Item::from_iter([("question_id".to_owned(), json!(id))]);
            Entry { item, picture: None }
        };
        let all = ["a", "b", "a", "c", "b", "c"];
        for (limit, want) in
            [(6, vec!["a", "b", "a", "c", "b", "c"]), (5, vec!["a", "b", "a", "b"]), (3, vec!["a", "a"]), (1, vec![])]
        {
            let mut entries: Vec<Entry> = all.into_iter().map(entry).collect();
            at_most(Task::Mme, &mut entries, limit);
            let ids: Vec<&str> = entries.iter().map(|e| e.item["question_id"].as_str().unwrap()).collect();
            assert_eq!(ids, want, "{limit}");
        }
        let mut entries: Vec<Entry> = all.into_iter().map(entry).collect();
        at_most(Task::VqaV2, &mut entries, 3);
        assert_eq!(entries.len(), 3);
    }
}
