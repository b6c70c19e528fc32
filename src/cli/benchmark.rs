//! `hive eval --task`: published question sets.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::args::Args;
use super::asking::{self, Asking};
use super::chat::called;
use super::eval_report::{self, Page, Shown};
use super::fault::Fault;
use super::output::{say, warn};
use super::shared::write;
use crate::data::picture_file::Rgb;
use crate::data::rng::hash_bytes;
use crate::data::tasks::load::{Entry, Files, LoadError, Set, load};
use crate::data::tasks::{self, Answered, Item, Read, Reading, Rules, Task, TaskError};
use crate::platform::{list_tree, now_secs, read_file, resident_bytes};

const HELP: &str = "\
hive eval --task NAME --score FILE: answers that were made elsewhere, scored as the harness that is named scores them. FILE is JSON
or JSON lines with \"doc\" (the data set's fields) and \"answer\" (as it came from the model) per item

hive eval --task NAME --data DIR --model MODEL: a model answers a set, greedily, as lmms-eval asks it. Answers go to a file line by line;
a run that was ended goes on with the same command
hive eval --task NAME --data DIR --check: reads a whole set, the original release, VLMEvalKit's table or, where this program was built
with --features parquet, lmms-lab's, and decodes all of its pictures

  --task NAME        mme, gqa, ok_vqa, scienceqa, textvqa, pope or vqav2
  --data DIR         the folder of the set
  --model, --weights, --room, --memory, --tiles   as hive ask has them
  --out FILE         answers (default answers-NAME.jsonl)
  --report FILE      a page (HTML) with totals, groups, and answers right and wrong with their pictures
  --limit N          so many items at most; MME's pairs stay together
  --rules NAME       lmms-0.7.3 (default); official or vlmevalkit, where their reading differs and is known (mme, pope)
";

/// Is a published set asked for?
pub(super) fn is_asked(list: &[String]) -> bool {
    list.iter().any(|word| {
        ["--task", "--score", "--rules", "--check", "--report"]
            .iter()
            .any(|name| word == name || word.starts_with(&format!("{name}=")))
    })
}

/// An answer as it was scored.
struct Scored {
    item: Item,
    prompt: Result<String, TaskError>,
    /// How the answer was read, or why it is in no total.
    reading: Result<Reading, String>,
    /// What was answered, or nothing.
    answer: String,
    empty: bool,
    /// How the answer ended, where that is known.
    end: Option<String>,
}

fn names(all: impl Iterator<Item = &'static str>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options =
        ["task", "rules", "score", "data", "model", "weights", "room", "memory", "tiles", "out", "limit", "report"];
    let Some(args) = Args::or_help(list, (0, &options), &["check"], HELP)? else { return Ok(()) };
    let name = args.option("task").unwrap_or_default();
    let task = Task::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
        Fault::usage(format!("--task is one of {}, not \"{name}\"", names(Task::ALL.into_iter().map(Task::name))))
    })?;
    let name = args.option("rules").unwrap_or(Rules::default().name());
    let rules = Rules::ALL.into_iter().find(|rules| rules.name() == name).ok_or_else(|| {
        Fault::usage(format!("--rules is one of {}, not \"{name}\"", names(Rules::ALL.into_iter().map(Rules::name))))
    })?;
    if !task.has(rules) {
        let known = names(Rules::ALL.into_iter().filter(|rules| task.has(*rules)).map(Rules::name));
        return Err(Fault::usage(format!("{} is read here by these rules: {known}; not by {name}", task.name())));
    }
    let Some(file) = args.option("score") else {
        let folder = args.option("data").ok_or_else(|| {
            Fault::usage(
                "--data DIR is missing, the folder of the set; or --score FILE, answers that were made elsewhere",
            )
        })?;
        return with_data(&args, task, rules, Path::new(folder));
    };
    if args.option("data").is_some() || args.option("model").is_some() {
        return Err(Fault::usage(
            "--score is by itself: its answers come with their items. Leave --data and --model out",
        ));
    }
    let text = String::from_utf8(read_file(Path::new(file)).map_err(|e| Fault::Failed(format!("{file}: {e}")))?)
        .map_err(|e| Fault::Failed(format!("{file} is not UTF-8 text: {e}")))?;
    let answers = tasks::answers(&text).map_err(|e| Fault::Failed(format!("{file}: {e}")))?;
    let scored = scored(task, rules, answers);
    let (totals, notes) = report(task, rules, &scored, &[], args.flag("json"));
    let facts = [("answers", called(file))];
    write_page(&args, (task, rules), &scored, (&totals, &notes), &facts, &|_| None)
}

/// Answers of each kind on the page.
const EXAMPLES: usize = 9;

/// Writes the page, where one is asked for.
fn write_page(
    args: &Args,
    (task, rules): (Task, Rules),
    scored: &[Scored],
    (totals, notes): (&Map<String, Value>, &[String]),
    facts: &[(&'static str, String)],
    picture: &dyn Fn(usize) -> Option<Rgb>,
) -> Result<(), Fault> {
    let Some(file) = args.option("report") else { return Ok(()) };
    let examples = |right: bool| -> Vec<Shown<'_>> {
        let score = |s: &Scored| s.reading.as_ref().ok().map(|reading| reading.score);
        let all: Vec<usize> =
            (0..scored.len()).filter(|i| score(&scored[*i]).is_some_and(|score| (score > 0.0) == right)).collect();
        // From all of the set.
        let step = all.len().div_ceil(EXAMPLES).max(1);
        let shown = |i: &usize| {
            let s = &scored[*i];
            let prompt = s.prompt.as_deref().unwrap_or_default();
            Shown {
                item: &s.item,
                prompt,
                answer: &s.answer,
                score: score(s).unwrap_or_default(),
                picture: picture(*i),
            }
        };
        all.iter().step_by(step).map(shown).collect()
    };
    let (worst, best) = (examples(false), examples(true));
    let page =
        Page { task, rules: rules.title(), items: scored.len(), facts, totals, notes, worst: &worst, best: &best };
    write(Path::new(file), eval_report::html(&page).as_bytes())?;
    warn(&format!("wrote {file}\n"));
    Ok(())
}

fn scored(task: Task, rules: Rules, answers: Vec<Answered>) -> Vec<Scored> {
    let one = |Answered { item, answer, end }| {
        let reading = match &answer {
            Ok(answer) => tasks::read(task, rules, &item, answer).map_err(|e| e.to_string()),
            Err(error) => Err(format!("it has no answer: {error}")),
        };
        let empty = answer.as_ref().is_ok_and(|answer| tasks::is_empty(answer));
        Scored { prompt: task.prompt(&item), item, reading, answer: answer.unwrap_or_default(), empty, end }
    };
    answers.into_iter().map(one).collect()
}

/// Reads a set, and then checks it, or has it answered.
fn with_data(args: &Args, task: Task, rules: Rules, folder: &Path) -> Result<(), Fault> {
    let failed = |e: &dyn std::fmt::Display| Fault::Failed(format!("{}: {e}", folder.display()));
    let read = |name: &str| read_file(&folder.join(name));
    let files = Files::new(list_tree(folder).map_err(|e| failed(&e))?, &read);
    #[cfg(feature = "parquet")]
    let open = |name: &str| crate::platform::Blob::open(folder.join(name));
    #[cfg(feature = "parquet")]
    let files = files.opened_by(&open);
    let mut set = load(task, &files).map_err(|e| failed(&e))?;
    if let Some(limit) = args.number::<usize>("limit")? {
        asking::at_most(task, &mut set.entries, limit);
    }
    if args.flag("check") {
        return check(task, &set, &files, args.flag("json")).map_err(|e| failed(&e));
    }
    if args.option("model").is_none() {
        return Err(Fault::usage("--model MODEL is missing, who is to answer; or --check, to read the set alone"));
    }
    if set.entries.is_empty() {
        return Err(Fault::usage("--limit leaves no item"));
    }
    set.notes.iter().for_each(|note| warn(&format!("{note}\n")));
    let start = now_secs();
    let asking = Asking { args, task, rules, set, files: &files };
    let answers = asking::ask(&asking)?;
    let none = answers.iter().all(|answered| answered.answer.is_err());
    let scored = scored(task, rules, answers);
    let (totals, notes) = report(task, rules, &scored, &asking.set.notes, args.flag("json"));
    let option = |name: &str, usual: &str| args.option(name).unwrap_or(usual).to_owned();
    let memory = resident_bytes().map_or_else(|| "not told".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let facts = [
        ("model", called(&option("model", ""))),
        ("weights", option("weights", "f16")),
        ("tiles", option("tiles", "all")),
        ("data", called(&folder.to_string_lossy())),
        ("time of this run", format!("{:.0} s", now_secs() - start)),
        ("memory of the program at its end", memory),
        ("Hive", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let picture = |i: usize| asking.set.entries[i].picture.as_ref().and_then(|place| place.decode(&files).ok());
    write_page(args, (task, rules), &scored, (&totals, &notes), &facts, &picture)?;
    if none { Err(Fault::Failed("no item was answered".to_owned())) } else { Ok(()) }
}

/// Decodes every picture of a set once, and says what is there.
fn check(task: Task, set: &Set, files: &Files<'_>, as_json: bool) -> Result<(), LoadError> {
    let mut sizes: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    // Tables have a picture of several questions several times.
    let mut seen: HashMap<u64, [usize; 2]> = HashMap::new();
    for place in set.entries.iter().filter_map(|entry| entry.picture.as_ref()) {
        if sizes.contains_key(place.name()) {
            continue;
        }
        let bytes = place.bytes(files)?;
        let size = match seen.entry(hash_bytes(&bytes)) {
            Occupied(known) => *known.get(),
            Vacant(new) => {
                let picture = place.picture(&bytes, None)?;
                *new.insert([picture.width, picture.height])
            }
        };
        sizes.insert(place.name(), size);
    }
    if as_json {
        let item = |entry: &Entry| {
            let picture = entry.picture.as_ref().map(|place| {
                let [width, height] = sizes[place.name()];
                json!({"file": place.name(), "width": width, "height": height})
            });
            json!({"doc": entry.item, "picture": picture, "prompt": task.prompt(&entry.item).ok()})
        };
        let items: Vec<Value> = set.entries.iter().map(item).collect();
        say(&format!("{}\n", json!({"task": task.name(), "items": items, "pictures": seen.len(), "notes": set.notes})));
        return Ok(());
    }
    set.notes.iter().for_each(|note| warn(&format!("{note}\n")));
    say(&format!("{}: {} items, {} pictures\n", task.name(), set.entries.len(), seen.len()));
    Ok(())
}

/// Share of answers from which on it is said that they cannot be read.
const MANY: f64 = 0.05;

/// Sentences about answers that say nothing, that were cut, or that are neither yes nor no where one is asked for.
fn unread(task: Task, scored: &[Scored]) -> Vec<String> {
    let share = |count: usize| count as f64 / scored.len().max(1) as f64;
    let empty = scored.iter().filter(|s| s.empty).count();
    let other = |s: &&Scored| {
        let parsed = s.reading.as_ref().ok().and_then(|reading| reading.parsed.as_deref());
        matches!(task, Task::Mme | Task::Pope) && parsed.is_some_and(|said| !["yes", "no"].contains(&said))
    };
    let others = scored.iter().filter(other).count();
    let mut out = Vec::new();
    if empty > 0 {
        out.push(format!("{empty} of {} answers are empty, or a thought without an answer", scored.len()));
    }
    let cut = |end: &str| scored.iter().filter(|s| s.end.as_deref() == Some(end)).count();
    for (end, place) in
        [("limit", format!("the limit of {} tokens", task.limit())), ("room", "the end of --room".into())]
    {
        if cut(end) > 0 {
            out.push(format!("{} of {} answers are cut at {place}", cut(end), scored.len()));
        }
    }
    if share(others) > MANY {
        out.push(format!("{others} of {} answers are read as neither yes nor no: look at some of them", scored.len()));
    }
    out
}

/// Items without a reading that are named; all of them are in the file of answers.
const MOST_NAMED: usize = 20;

/// Prints what came of it; gives totals and notes.
fn report(
    task: Task,
    rules: Rules,
    scored: &[Scored],
    told: &[String],
    as_json: bool,
) -> (Map<String, Value>, Vec<String>) {
    let read: Vec<Read<'_>> = scored.iter().map(|s| (&s.item, s.reading.as_ref().ok())).collect();
    let (totals, own) = tasks::totals(task, rules, &read);
    let wrong: Vec<String> = scored
        .iter()
        .enumerate()
        .filter_map(|(i, s)| Some(format!("item {i} ({}): {}", task.key(&s.item), s.reading.as_ref().err()?)))
        .collect();
    let more = wrong.len().saturating_sub(MOST_NAMED);
    let mut notes: Vec<String> = wrong.into_iter().take(MOST_NAMED).collect();
    if more > 0 {
        notes.push(format!("and {more} further items"));
    }
    notes.extend(own);
    notes.extend(unread(task, scored));
    // Those of the set were told before anything was asked.
    notes.retain(|note| !told.contains(note));
    if as_json {
        let item = |s: &Scored| {
            let mut out = Map::new();
            out.insert("score".into(), json!(s.reading.as_ref().ok().map(|r| r.score)));
            out.insert("prompt".into(), json!(s.prompt.as_ref().ok()));
            match &s.reading {
                Ok(Reading { parsed: Some(parsed), .. }) => drop(out.insert("parsed".into(), json!(parsed))),
                Ok(_) => {}
                Err(error) => drop(out.insert("error".into(), json!(error))),
            }
            Value::Object(out)
        };
        let items: Vec<Value> = scored.iter().map(item).collect();
        let notes = [told, &notes].concat();
        let all =
            json!({"task": task.name(), "rules": rules.title(), "items": items, "totals": totals, "notes": notes});
        say(&format!("{all}\n"));
        return (totals, notes);
    }
    for note in &notes {
        warn(&format!("{note}\n"));
    }
    say(&format!("{}, {} items; rules: {}\n", task.name(), scored.len(), rules.title()));
    lines(&totals, 0);
    (totals, [told, &notes].concat())
}

/// Totals, those of groups below their names.
fn lines(totals: &Map<String, Value>, indent: usize) {
    for (name, value) in totals {
        let name = format!("{:indent$}{name}", "");
        match value {
            Value::Object(group) => {
                say(&format!("{name}\n"));
                lines(group, indent + 2);
            }
            Value::Number(number) if number.is_f64() => {
                say(&format!("{name:28} {:.4}\n", number.as_f64().unwrap_or(f64::NAN)));
            }

            other => say(&format!("{name:28} {other}\n")),
        }
    }
}
