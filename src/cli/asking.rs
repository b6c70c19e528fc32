//! `hive eval --task --data --model`: a model answers a published set, line by line into a file that a later run takes up.

use std::collections::{BTreeMap, HashMap};
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
use crate::data::tasks::load::{Entry, Files, LoadError, Place, Set};
use crate::data::tasks::{self, Answered, Rules, Task};
use crate::data::tiles::{Picture, Recipe};
use crate::engine::answers::assistant::{Assistant, End, Options, ReplyError};
use crate::gpu::GpuError;
use crate::model::decode::DecodeError;
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

/// A number for all that is asked, but for what the pictures show.
fn hash_of(set: &Set) -> u64 {
    let one = |entry: &Entry| {
        let place = entry.picture.as_ref().map_or("", |place| place.name());
        hash_bytes(format!("{} {place}", json!(entry.item)).as_bytes())
    };
    set.entries.iter().fold(0, |sum, entry| splitmix64(sum ^ one(entry)))
}

/// A number for the picture of each item; 0 where there is none, or none that can be read.
fn fingerprints(set: &Set, files: &Files<'_>) -> Vec<u64> {
    let mut known: HashMap<&str, u64> = HashMap::new();
    let mut of =
        |place| *known.entry(Place::name(place)).or_insert_with(|| place.fingerprint(files).unwrap_or_default());
    set.entries.iter().map(|entry| entry.picture.as_ref().map_or(0, &mut of)).collect()
}

/// A number for the pictures of all items, whose parts can be exchanged.
fn together(prints: impl Iterator<Item = u64>) -> u64 {
    (0..).zip(prints).fold(0, |sum, (i, print): (u64, u64)| sum.wrapping_add(splitmix64(print ^ splitmix64(i))))
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// The first line of the file: what its answers depend on.
fn header(asking: &Asking<'_>, chosen: &Chosen, prints: &[u64]) -> Result<Value, Fault> {
    let option = |name: &str, usual: &str| asking.args.option(name).unwrap_or(usual).to_owned();
    Ok(json!({"header": {
        "task": asking.task.name(),
        "rules": asking.rules.title(),
        "items": asking.set.entries.len(),
        "data": hex(hash_of(&asking.set)),
        "pictures": hex(together(prints.iter().copied())),
        "model": hex(chosen.fingerprint(asking.args)?),
        "weights": option("weights", "f16"),
        "tiles": option("tiles", "all"),
        "room": option("room", "default"),
        "hive": env!("CARGO_PKG_VERSION"),
    }}))
}

/// What two headers differ in.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let fields = new["header"].as_object().into_iter().flatten();
    fields.filter(|(name, value)| old["header"].get(*name) != Some(*value)).map(|(name, _)| name.clone()).collect()
}

/// What the file says of an item.
struct Said {
    answer: Result<String, String>,
    end: Option<String>,
    /// Its picture when it was asked about first, and last.
    pictures: [u64; 2],
}

/// What an open file says, by item. A file of another run is refused.
fn said(
    found: &Found,
    header: &Value,
    asking: &Asking<'_>,
    out: &Path,
    prints: &[u64],
) -> Result<BTreeMap<usize, Said>, Fault> {
    let broken = |line: usize| {
        let out = out.display();
        Fault::Failed(format!(
            "{out}, line {line}: it is no answer of this command. Give another --out, or remove the file"
        ))
    };
    let other = |fields: &[String]| {
        let (out, fields) = (out.display(), fields.join(", "));
        Fault::Failed(format!(
            "{out} has the answers of another run: it differs in {fields}. Give another --out, or remove the file"
        ))
    };
    // A first line that is torn is this run's own, or somebody else's file.
    if found.lines.is_empty() && !header.to_string().as_bytes().starts_with(&found.torn) {
        return Err(broken(1));
    }
    let mut all: BTreeMap<usize, Said> = BTreeMap::new();
    let mut before = None;
    for (i, line) in found.lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).map_err(|_broken| broken(i + 1))?;
        if i == 0 {
            if value.get("header").is_none() {
                return Err(broken(1));
            }
            let fields = differences(&value, header);
            if fields.iter().any(|field| field != "pictures") {
                return Err(other(&fields));
            }
            before = value["header"]["pictures"].as_str().map(str::to_owned);
            continue;
        }
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let at = value["index"].as_u64().and_then(|at| usize::try_from(at).ok());
        let entry = at.and_then(|at| asking.set.entries.get(at));
        let own = entry.is_some_and(|entry| value["id"] == asking.task.key(&entry.item));
        let picture = value["picture"].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let answer = text("answer").map(Ok).or_else(|| text("error").map(Err));
        let (Some(at), true, Some(answer), Some(picture)) = (at, own, answer, picture) else {
            return Err(broken(i + 1));
        };
        let first = all.get(&at).map_or(picture, |said| said.pictures[0]);
        all.insert(at, Said { answer, end: text("end"), pictures: [first, picture] });
    }
    // A picture that could not be used may be another now, and no other.
    let first = (0..).zip(prints).map(|(i, print)| all.get(&i).map_or(*print, |said| said.pictures[0]));
    let same = all.iter().all(|(i, said)| said.answer.is_err() || said.pictures[1] == prints[*i]);
    if before.is_some_and(|before| before != hex(together(first))) || !same {
        return Err(other(&["pictures".to_owned()]));
    }
    Ok(all)
}

/// Items in the order of asking: those with one picture one after the other, so that it is looked at once.
fn in_turn(entries: &[Entry], mut rest: Vec<usize>) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let turns: Vec<usize> = (0..)
        .zip(entries)
        .map(|(i, entry)| entry.picture.as_ref().map_or(i, |place| *first.entry(place.source()).or_insert(i)))
        .collect();
    rest.sort_by_key(|i| turns[*i]);
    rest
}

/// A run in the making.
struct Run<'a> {
    asking: &'a Asking<'a>,
    out: &'a Path,
    file: Lines,
    prints: Vec<u64>,
    said: BTreeMap<usize, Said>,
}

impl Run<'_> {
    fn write(&mut self, value: &Value) -> Result<(), Fault> {
        self.file.add(&value.to_string()).map_err(|e| Fault::unwritable(self.out, &e))
    }

    /// Writes what came of an item.
    fn keep(
        &mut self,
        i: usize,
        mut line: Value,
        answer: Result<String, String>,
        end: Option<&str>,
    ) -> Result<(), Fault> {
        let item = &self.asking.set.entries[i].item;
        let picture = self.prints[i];
        line["index"] = json!(i);
        line["id"] = json!(self.asking.task.key(item));
        line["doc"] = json!(item);
        line["picture"] = json!(hex(picture));
        match &answer {
            Ok(answer) => line["answer"] = json!(answer),
            Err(error) => line["error"] = json!(error),
        }
        self.write(&line)?;
        self.said.insert(i, Said { answer, end: end.map(str::to_owned), pictures: [picture; 2] });
        Ok(())
    }

    /// Asks about an item, and writes what was answered, or why nothing was. None: a signal came.
    fn answer(&mut self, assistant: &mut Assistant, i: usize, picture: Option<&Picture>) -> Result<Option<()>, Fault> {
        let Asking { task, rules, set, .. } = self.asking;
        let item = &set.entries[i].item;
        let prompt = match task.prompt(item) {
            Ok(prompt) => prompt,
            Err(e) => return self.keep(i, json!({}), Err(e.to_string()), None).map(Some),
        };
        let messages = [Message::about(&prompt, usize::from(picture.is_some()))];
        let pictures: Vec<Picture> = picture.into_iter().cloned().collect();
        let options = Options { limit: task.limit(), ..Options::default() };
        let reply = match block_on(assistant.reply(&messages, &pictures, &options, |_| interrupted().is_none())) {
            Ok(reply) => reply,
            Err(e) if ends_all(&e) => {
                return Err(Fault::Failed(format!("item {i} ({}): {e}. The same command goes on", task.key(item))));
            }
            Err(e) => return self.keep(i, json!({"prompt": prompt}), Err(e.to_string()), None).map(Some),
        };
        let end = match reply.end {
            End::EndToken => "end",
            End::Stop => "stop",
            End::Limit => "limit",
            End::Full => "room",
            End::Cancelled => return Ok(None),
        };
        let mut line = json!({"prompt": prompt, "end": end});
        match tasks::read(*task, *rules, item, &reply.text) {
            Ok(reading) => {
                line["score"] = json!(reading.score);
                line["parsed"] = json!(reading.parsed);
            }
            Err(error) => line["error"] = json!(error.to_string()),
        }
        self.keep(i, line, Ok(reply.text), Some(end)).map(Some)
    }

    /// How many have an answer.
    fn count(&self) -> usize {
        self.said.values().filter(|said| said.answer.is_ok()).count()
    }

    /// How far it is, as a sentence.
    fn told(&self) -> String {
        format!("{} of {} answers are in {}", self.count(), self.asking.set.entries.len(), self.out.display())
    }

    /// Asks about these items; the next one's picture is made meanwhile.
    fn go_on(&mut self, assistant: &mut Assistant, recipe: Option<&Recipe>, rest: &[usize]) -> Result<(), Fault> {
        let Asking { set, files, .. } = self.asking;
        // Of questions about one picture, which come one after the other, the first decodes it: the file may be there several
        // times, as in tables.
        let last: Mutex<Option<(Vec<u8>, Arc<Picture>)>> = Mutex::new(None);
        let picture_of = |i: usize| -> Result<Option<Arc<Picture>>, LoadError> {
            let (Some(recipe), Some(place)) = (recipe, &set.entries[i].picture) else { return Ok(None) };
            let bytes = place.bytes(files)?;
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, picture)) = last.as_ref().filter(|(known, _)| *known == bytes) {
                return Ok(Some(Arc::clone(picture)));
            }
            let picture = Arc::new(recipe.picture(&place.picture(&bytes, None)?, true));
            *last = Some((bytes, Arc::clone(&picture)));
            Ok(Some(picture))
        };
        let (start, mut progress, mut result, mut done) = (now_secs(), Progress::new(), Ok(()), 0);
        in_order(rest, &picture_of, &mut |i, picture| {
            let outcome = match picture {
                Ok(picture) => self.answer(assistant, i, picture.as_deref()),
                Err(error) => self.keep(i, json!({}), Err(error.to_string()), None).map(Some),
            };
            result = match outcome {
                Ok(Some(())) => Ok(()),
                Ok(None) => {
                    let signal = SIGNALLED + interrupted().unwrap_or_default();
                    Err(Fault::Ended(signal, format!("{}: the same command goes on", self.told())))
                }
                Err(fault) => Err(fault),
            };
            done += 1;
            let secs = (now_secs() - start) / f64::from(done);
            let left = secs * (rest.len() as f64 - f64::from(done));
            progress.show(|| format!("{}, {secs:.1} s each, {left:.0} s left", self.told()));
            result.is_ok()
        });
        result?;
        progress.end(&self.told());
        Ok(())
    }
}

/// Is it the GPU's, so that no further item can be answered? Too little memory is of the item.
fn ends_all(error: &ReplyError) -> bool {
    matches!(error, ReplyError::Decode(DecodeError::Gpu(e)) if !matches!(e, GpuError::OutOfMemory(_)))
}

/// Asks what is not answered yet; gives what came of all items, in their order.
pub(super) fn ask(asking: &Asking<'_>) -> Result<Vec<Answered>, Fault> {
    let Asking { args, task, set, files, .. } = asking;
    let name = format!("answers-{}.jsonl", task.name());
    let out = Path::new(args.option("out").unwrap_or(&name));
    let chosen = Chosen::of(args)?;
    let recipe = chosen.recipe();
    if recipe.is_none() {
        warn("this model takes no pictures: it is asked without\n");
    }
    let prints = fingerprints(set, files);
    let header = header(asking, &chosen, &prints)?;
    let (found, file) = Lines::open(out).map_err(|e| Fault::unwritable(out, &e))?;
    let said = said(&found, &header, asking, out, &prints)?;
    let mut run = Run { asking, out, file, prints, said };
    if found.lines.is_empty() {
        run.write(&header)?;
    }
    let is_open = |i: &usize| run.said.get(i).is_none_or(|said| said.answer.is_err());
    let rest = in_turn(&set.entries, (0..set.entries.len()).filter(is_open).collect());
    if !run.said.is_empty() {
        warn(&format!("{} already\n", run.told()));
    }
    if !rest.is_empty() {
        let mut assistant = chosen.start(args)?;
        watch_signals();
        run.go_on(&mut assistant, recipe.as_ref(), &rest)?;
    }
    let without = set.entries.len() - run.count();
    if without > 0 {
        warn(&format!("{without} items have no answer: the same command tries them again\n"));
    }
    let answered =
        |(entry, said): (&Entry, Said)| Answered { item: entry.item.clone(), answer: said.answer, end: said.end };
    Ok(set.entries.iter().zip(run.said.into_values()).map(answered).collect())
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
    #[test]
    fn questions_about_a_picture_come_one_after_the_other() {
        let entry =
            |name: &str| Entry { item: Item::new(), picture: (!name.is_empty()).then(|| Place::File(name.to_owned())) };
        let entries: Vec<Entry> = ["a", "b", "", "a", "c", "b", "a"].into_iter().map(entry).collect();
        assert_eq!(in_turn(&entries, (0..7).collect()), [0, 3, 6, 1, 5, 2, 4]);
        // The first of a picture may be answered.
        assert_eq!(in_turn(&entries, vec![2, 3, 5, 6]), [3, 6, 5, 2]);
    }
    #[test]
    fn a_lost_device_ends_a_run_and_an_item_does_not() {
        let of = |e: GpuError| ReplyError::from(DecodeError::from(e));
        assert!(ends_all(&of(GpuError::Lost("gone".into()))) && ends_all(&of(GpuError::Validation("bug".into()))));
        assert!(!ends_all(&of(GpuError::OutOfMemory("a picture".into()))));
        assert!(!ends_all(&DecodeError::Long { tokens: 9, room: 5 }.into()) && !ends_all(&DecodeError::Empty.into()));
    }
}
