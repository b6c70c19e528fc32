//! Links: read, written, and applied to a state.

use std::path::Path;

use hive::app::Control;
use hive::app::actions::{Action, choose_picture, perform};
use hive::app::control::CONTROLS;
use hive::app::lessons::LESSONS;
use hive::app::permalink::{Panel, Permalink, TABS, Tab};
use hive::app::restore::{apply_link, complain};
use hive::data::{Dataset, Rng, Split};
use hive::engine::{Beside, Command, Event, Fault, FaultKind, Opened, Stage, Steps, assets};
use hive::platform::{list_folder, read_file};

use super::common::{Bench, opened, training};

fn maybe<T>(rng: &mut Rng, value: T) -> Option<T> {
    rng.chance(0.5).then_some(value)
}

/// Text with everything that has a meaning in links, and letters of one to four bytes.
fn text(rng: &mut Rng) -> String {
    let letters: Vec<char> = "ab 09?&=%#+,;:/.~_-\"'<>\\|é日🐶\u{200b}".chars().collect();
    (0..rng.below(40)).map(|_| *rng.pick(&letters)).collect()
}

fn number(rng: &mut Rng) -> u64 {
    *rng.pick(&[0, 1, 7, 4_294_967_296, u64::MAX])
}

fn some_of<T: Clone>(rng: &mut Rng, all: &[T]) -> Vec<T> {
    all.iter().filter(|_| rng.chance(0.3)).cloned().collect()
}

/// Any link that [`Permalink::parse`] can give.
fn link(rng: &mut Rng) -> Permalink {
    let (preset, lesson, tab) = (rng.pick(assets::PRESETS).0, rng.pick(&LESSONS).name, rng.pick(&TABS).1);
    let (seed, stage) = (number(rng), *rng.pick(&Stage::ALL));
    let panels = some_of(rng, &Panel::ALL);
    let hide = some_of(rng, CONTROLS).into_iter().map(|c| c.0).collect::<Vec<_>>();
    let (question, example) = (text(rng), number(rng));
    let beside = rng.pick(&["flattened", "links:deep-first", "links:1,1", "more-of-stage-2"]).parse().unwrap();
    let links = (*rng.pick(&["paper", "deep-first", "last", "3", "0,4,2"])).to_owned();
    Permalink {
        version: *rng.pick(&[1, 1, 2, 9]),
        preset: maybe(rng, preset.to_owned()),
        seed: maybe(rng, seed),
        stage: maybe(rng, stage),
        links: maybe(rng, links),
        beside: maybe(rng, beside),
        control: rng.chance(0.5),
        trained: rng.chance(0.5),
        fresh: rng.chance(0.5),
        run: rng.chance(0.5),
        panels: maybe(rng, panels),
        show_all: hide.is_empty() && rng.chance(0.5),
        hide,
        lesson: maybe(rng, lesson.to_owned()),
        tab: maybe(rng, tab),
        question: maybe(rng, question),
        example: maybe(rng, example),
    }
}

#[test]
fn a_link_survives_being_written_and_read() {
    let mut rng = Rng::new(1, 0);
    for _ in 0..5000 {
        let before = link(&mut rng);
        let hash = before.to_hash();
        assert!(hash.is_ascii() && !hash.contains([' ', '"', '<']), "{hash}");
        for text in [hash.clone(), hash.replacen('#', "", 1), format!("https://example.org/hive/?x=1{hash}")] {
            let (after, complaints) = Permalink::parse(&text);
            assert_eq!(after, before, "{text}");
            assert_eq!(complaints.is_empty(), before.version == 1, "{text}: {complaints:?}");
            assert_eq!(after.to_hash(), hash);
        }
    }
}

#[test]
fn strange_text_never_panics_and_is_complained_of_briefly() {
    let mut rng = Rng::new(2, 0);
    let pieces = [
        "preset",
        "seed",
        "hide",
        "panels",
        "question",
        "v",
        "run",
        "=",
        "&",
        "#",
        "%",
        "%4",
        "%zz",
        "%ff",
        "%F0%9F",
        "+",
        ",",
        "://",
        "hive:",
        "-1",
        "1e9",
        "99999999999999999999",
        "🐶",
        "\0",
        "\n",
        "é",
        "=&=",
        "pictures",
        "1",
    ];
    for _ in 0..5000 {
        let hostile: String = (0..rng.below(30)).map(|_| *rng.pick(&pieces)).collect();
        let (link, complaints) = Permalink::parse(&hostile);
        assert!(complaints.len() <= 7 && complaints.iter().all(|c| c.len() < 400), "{hostile}: {complaints:?}");
        // What was understood can be written and read again.
        assert_eq!(Permalink::parse(&link.to_hash()).0, link, "{hostile}");
    }
    let long = format!("question={}&{}", "x".repeat(1_000_000), "a=b&".repeat(100_000));
    let (link, complaints) = Permalink::parse(&long);
    assert_eq!(link.question.map(|q| q.len()), Some(300));
    assert_eq!(complaints.len(), 7);
}

#[test]
fn what_a_link_says_is_read_and_what_is_wrong_with_it_is_said() {
    let (link, complaints) = Permalink::parse(
        "#preset=shapes&seed=3&stage=2&control=1&panels=ask,data&hide=recipe,seed&question=what%20is+it%20%3F",
    );
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(link.preset.as_deref(), Some("shapes"));
    assert_eq!((link.seed, link.stage, link.control, link.trained), (Some(3), Some(Stage::Adaptation), true, false));
    assert_eq!(link.panels, Some(vec![Panel::Data, Panel::Ask]));
    assert_eq!(link.hide.iter().map(|c| c.name()).collect::<Vec<_>>(), ["recipe", "seed"]);
    assert_eq!(link.question.as_deref(), Some("what is it ?"));
    for (wrong, word) in [
        ("preset=ponies", "pictures-long"),
        ("seed=minus", "whole number"),
        ("stage=4", "1, 2 and 3"),
        ("run=maybe", "1 or 0"),
        ("hide=everything,recipe", "everything"),
        ("panels=attic", "attic"),
        ("tab=x", "accuracy"),
        ("lesson=x", "stages"),
        ("colour=red", "colour"),
        ("v=7", "newer"),
    ] {
        let (link, complaints) = Permalink::parse(wrong);
        assert!(complaints.len() == 1 && complaints[0].contains(word), "{wrong}: {complaints:?}");
        assert_eq!(link.hide.len(), usize::from(wrong.contains("recipe")));
    }
    for empty in ["", "#", "https://example.org/hive/", "https://example.org/hive/#", "  "] {
        assert_eq!(Permalink::parse(empty), (Permalink::default(), Vec::new()), "{empty}");
    }
    let mut bench = opened();
    complain(&mut bench.state, &Permalink::parse("preset=ponies").1);
    assert!(bench.state.faults[0].what.contains("ponies"));
}

#[test]
fn links_of_earlier_versions_hide_what_has_another_name_now() {
    let (link, complaints) = Permalink::parse("hide=seed, talk");
    assert_eq!((link.hide, complaints), (vec![Control::Seed, Control::Chat], Vec::new()));
}

#[test]
fn every_control_that_a_link_can_hide_is_asked_for() {
    let mut code = String::new();
    for folder in ["src/app", "src/app/panels"].map(Path::new) {
        for name in
            list_folder(folder).unwrap().into_iter().filter(|name| name.ends_with(".rs") && name != "control.rs")
        {
            code += &String::from_utf8(read_file(&folder.join(name)).unwrap()).unwrap();
        }
    }
    let hides_nothing = |c: &&(Control, &str)| !code.contains(&format!("Control::{:?}", c.0));
    assert_eq!(CONTROLS.iter().filter(hides_nothing).collect::<Vec<_>>(), Vec::<&(Control, &str)>::new());
}

fn applied(bench: &mut Bench, text: &str) -> Vec<Command> {
    let (link, complaints) = Permalink::parse(text);
    assert_eq!(complaints, Vec::<String>::new());
    apply_link(&mut bench.state, &link, &mut bench.out);
    std::mem::take(&mut bench.out)
}

#[test]
fn a_preset_is_opened_only_where_it_is_not_open_yet() {
    let mut bench = opened();
    assert!(applied(&mut bench, "preset=pictures").is_empty());
    assert!(applied(&mut bench, "preset=pictures&seed=1").is_empty());
    assert!(applied(&mut bench, "fresh=1").is_empty(), "nothing was done to the start weights");
    assert!(matches!(&applied(&mut bench, "preset=shapes")[..], [Command::Open(o)] if o.preset.name == "shapes"));
    assert!(
        matches!(&applied(&mut bench, "seed=5")[..], [Command::Open(o)] if o.preset.seed == 5 && o.beside.is_none())
    );
    let mut bench = opened();
    assert!(
        matches!(&applied(&mut bench, "control=1")[..], [Command::Open(o)] if o.beside == Some(Beside::Flattened) && !o.trained)
    );
    assert!(matches!(&applied(&mut bench, "trained=1")[..], [Command::Open(o)] if o.trained));
    let mut bench = training(3);
    assert!(applied(&mut bench, "preset=pictures").is_empty());
    assert!(matches!(&applied(&mut bench, "fresh=1&run=1")[..], [Command::Open(_), Command::Train(Steps::Stage)]));
    // At the start of the app nothing is open: then something is.
    let mut bench = Bench::default();
    assert!(matches!(&applied(&mut bench, "")[..], [Command::Open(o)] if o.preset.name == "grounds"));
}

#[test]
fn a_stage_under_way_goes_on_and_one_that_is_done_begins_again() {
    let mut bench = opened();
    let out = applied(&mut bench, "stage=1&run=1");
    assert!(matches!(&out[..], [Command::Enter(Stage::Connector), Command::Train(Steps::Stage)]));
    let mut bench = training(3);
    assert!(matches!(&applied(&mut bench, "stage=1&run=1")[..], [Command::Train(Steps::Stage)]));
    bench.tell(Event::StageDone(Stage::Connector));
    assert!(matches!(&applied(&mut bench, "stage=1")[..], [Command::Enter(Stage::Connector)]));
    assert!(matches!(&applied(&mut bench, "stage=3")[..], [Command::Enter(Stage::Vision)]));
}

/// Opening takes a while, weights may have to be fetched: nobody must ask the coming model about a picture of the old one.
#[test]
fn a_link_to_other_data_shows_its_picture_at_once() {
    let (mut bench, question) = (opened(), "what is at the top-left ?");
    choose_picture(&mut bench.state);
    let mut out = applied(&mut bench, &format!("preset=grounds&example=17&question={question}"));
    choose_picture(&mut bench.state);
    let sample = Dataset::Grounds.sample(Split::HeldOut, 0, 17, 1);
    let shows_it = |bench: &Bench| {
        assert!(*bench.state.picture.as_ref().unwrap().pixels == sample.pixels, "another picture is shown");
        assert_eq!(bench.state.question, question);
    };
    shows_it(&bench);
    drop(perform(Action::Ask, &mut bench.state, &mut out));
    let [Command::Open(open), Command::Ask(asked)] = &out[..] else { panic!("{out:?}") };
    assert!(*asked.pixels == sample.pixels, "another picture is asked about");
    let (preset, words) = (open.preset.clone(), Dataset::Grounds.words());
    bench.tell(Event::Opened(Box::new(Opened { preset, words, beside: None, stage: None, update: 0, log: None })));
    choose_picture(&mut bench.state);
    shows_it(&bench);
    // Where it cannot be opened, the pictures are those of what is open still.
    let mut bench = opened();
    applied(&mut bench, "preset=grounds&example=17");
    choose_picture(&mut bench.state);
    bench.tell(Event::Fault(Fault::new(FaultKind::Download, "gone", "again")));
    choose_picture(&mut bench.state);
    let old = Dataset::Pictures.sample(Split::HeldOut, 0, 17, 1);
    assert!(*bench.state.picture.as_ref().unwrap().pixels == old.pixels, "the picture is of data that never came");
}

#[test]
fn a_link_sets_question_example_panels_tab_and_hidden_controls() {
    let mut bench = opened();
    applied(&mut bench, "question=what is it ?&example=3&panels=model&tab=accuracy&hide=recipe,seed");
    let state = &bench.state;
    assert_eq!((state.question.as_str(), state.wanted_example), ("what is it ?", Some(3)));
    assert!(state.link.is_open(Panel::Model) && !state.link.is_open(Panel::Data));
    assert_eq!(state.tab, Tab::Accuracy);
    assert!(!state.shows(Control::Recipe) && state.shows(Control::Run));
    // What a later link does not name stays.
    applied(&mut bench, "example=4");
    assert_eq!(bench.state.question, "", "the other example has its own question");
    assert!(!bench.state.shows(Control::Seed) && !bench.state.link.is_open(Panel::Data));
    applied(&mut bench, "hide=none&lesson=look");
    assert!(bench.state.shows(Control::Recipe) && bench.state.link.is_open(Panel::Lessons));
    assert_eq!(bench.state.lesson.lesson().map(|l| l.name), Some("look"));
}

#[test]
fn the_link_of_a_state_restores_it() {
    let mut bench = training(2);
    applied(&mut bench, "question=is there a dog %3F&example=9&panels=ask,lessons&hide=seed&lesson=flatten&tab=norms");
    let link = Permalink::of(&bench.state);
    assert_eq!((link.preset.as_deref(), link.seed, link.stage), (Some("pictures"), Some(1), Some(Stage::Connector)));
    assert!(link.run && !link.trained);
    let mut other = Bench::default();
    let out = applied(&mut other, &link.to_hash());
    assert!(matches!(&out[..], [Command::Open(_), Command::Enter(Stage::Connector), Command::Train(_)]));
    // The session's answers are still to come: everything else is there.
    let now = Permalink::of(&other.state);
    assert_eq!(Permalink { preset: None, seed: None, stage: None, run: false, ..link }, now);
}

#[test]
fn the_link_of_a_later_stage_does_not_skip_the_first() {
    let mut bench = training(2);
    bench.tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    assert_eq!(Permalink::of(&bench.state).stage, None, "its weights came out of stage 1");
    let mut bench = opened();
    bench.tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    assert_eq!(
        Permalink::of(&bench.state).stage,
        Some(Stage::Adaptation),
        "stage 1 was skipped, and the link skips it too"
    );
}
