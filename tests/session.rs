//! The session behind window and page, driven by commands as they drive it.

use std::cell::Cell;
use std::sync::Arc;

use hive::engine::{
    Beside, BlockId, Command, Event, FaultKind, GpuOptions, Handle, Lane, Open, Point, Preset, Question, RunLog, Stage,
    Steps, assets, worker,
};
use hive::platform::block_on;

/// A session with the log that a window would keep.
struct Driver {
    handle: Handle,
    log: RunLog,
}

impl Driver {
    /// None where there is no GPU and none is required.
    fn start(options: GpuOptions) -> Option<Self> {
        drop(crate::common::gpu()?);
        Some(Self { handle: worker::start(options, Arc::new(|| ())), log: RunLog::default() })
    }

    fn send(&self, command: Command) {
        self.handle.send(command);
    }

    /// Events up to the one that `found` accepts; that one's value. Faults end the test.
    fn until<T>(&mut self, found: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = block_on(self.handle.wait()).expect("the session is gone");
            self.log.apply(&event);
            if let Some(value) = found(&event) {
                return value;
            }
            if let Event::Fault(fault) = event {
                panic!("{fault:?}");
            }
        }
    }

    fn open(&mut self, preset: Preset, control: bool) {
        let beside = control.then_some(Beside::Flattened);
        self.send(Command::Open(Open { preset: Box::new(preset), beside, trained: false }));
        self.until(|e| matches!(e, Event::Opened(_)).then_some(()));
    }

    fn stage(&mut self) -> Stage {
        self.send(Command::Train(Steps::Stage));
        self.until(|e| if let Event::StageDone(s) = e { Some(*s) } else { None })
    }

    /// Waits for the end of the last stage; training that ends before fails.
    fn all_stages(&mut self) {
        let last = Cell::new(None);
        self.until(|e| match e {
            Event::Step(step) => {
                last.set(Some(step.stage));
                None
            }
            Event::Running(None) => {
                assert_eq!(last.get(), Some(Stage::Vision), "it stopped");
                None
            }
            Event::StageDone(stage) => (*stage == Stage::Vision).then_some(()),
            _ => None,
        });
    }

    fn question(&self) -> Question {
        let dataset = hive::data::dataset::Dataset::Shapes;
        let sample = |i| dataset.sample(hive::data::worlds::Split::HeldOut, 0, i, 1);
        let (own, other) = (sample(0), sample(1));
        Question {
            id: 7,
            text: own.turns[0].question.clone(),
            pixels: own.pixels.into(),
            other: Some(other.pixels.into()),
        }
    }
}

fn tiny() -> Preset {
    assets::preset("tiny").unwrap()
}

/// Curves without wall-clock figures.
fn losses(points: &[Point]) -> Vec<(u64, Stage, u32, u32)> {
    points.iter().map(|p| (p.step, p.stage, p.loss.to_bits(), p.grad_norm.to_bits())).collect()
}

#[test]
fn three_stages_of_both_lanes_and_a_run_file() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), true);
    for stage in Stage::ALL {
        assert_eq!(d.stage(), stage);
    }
    for lane in Lane::ALL {
        let points = d.log.points(lane);
        assert_eq!(points.len(), 18, "{lane:?}");
        assert!(points.iter().all(|p| p.loss > 0.0 && p.grad_norm > 0.0 && p.throughput > 0.0));
    }
    assert!(d.log.norms.iter().any(|n| n.norms.iter().any(|(b, v)| *b == BlockId::Link(0) && *v > 0.0)));
    assert!(
        d.log.norms.iter().any(|n| n.lane == Lane::Control && n.norms.iter().any(|(b, _)| *b == BlockId::Projector))
    );
    // Before any step the links pass nothing on that helps: own and swapped pictures score alike; after it both are there.
    assert!(d.log.scores.len() >= 8);
    // A stage starts with what the one before ended with, to the question.
    for lane in Lane::ALL {
        let scores: Vec<_> = d.log.scores.iter().filter(|s| s.lane == lane && s.stage.is_some()).collect();
        for (end, start) in scores.iter().zip(&scores[1..]).filter(|(end, start)| end.stage < start.stage) {
            assert_eq!((&end.own, &end.swapped, end.own.all.of), (&start.own, &start.swapped, 100));
        }
        assert_eq!(scores.iter().filter(|s| s.step == 6).count(), 2, "{scores:?}");
    }

    d.send(Command::Save(Box::new(d.log.clone())));
    let (name, bytes) = d.until(|e| match e {
        Event::File { name, bytes } => Some((name.clone(), Arc::clone(bytes))),
        _ => None,
    });
    assert!(name.ends_with(".hiverun"), "{name}");
    let saved = d.log.clone();

    // Another session, as on another machine.
    let mut other = Driver::start(GpuOptions::default()).unwrap();
    other.send(Command::Load { name, bytes: bytes.to_vec() });
    let opened = other.until(|e| if let Event::Opened(o) = e { Some(o.clone()) } else { None });
    assert_eq!((opened.stage, opened.update, opened.beside.is_some()), (Some(Stage::Vision), 6, true));
    assert_eq!(losses(&other.log.hive), losses(&saved.hive));
    assert_eq!(other.log.scores, saved.scores);
    assert_eq!(other.log.norms, saved.norms);
}

#[test]
fn a_loaded_run_goes_on_bit_for_bit() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Train(Steps::Count(2)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    assert_eq!(d.log.steps(), 2);
    d.send(Command::Save(Box::new(d.log.clone())));
    let bytes = d.until(|e| if let Event::File { bytes, .. } = e { Some(Arc::clone(bytes)) } else { None });
    d.stage();
    let mut other = Driver::start(GpuOptions::default()).unwrap();
    other.send(Command::Load { name: "run".into(), bytes: bytes.to_vec() });
    other.until(|e| matches!(e, Event::Opened(_)).then_some(()));
    assert_eq!(other.stage(), Stage::Connector);
    assert_eq!(losses(&other.log.hive), losses(&d.log.hive));
}

#[test]
fn a_lost_device_is_replaced_and_the_curve_is_the_same() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    let mut undisturbed = Driver::start(GpuOptions::default()).unwrap();
    undisturbed.open(tiny(), false);
    undisturbed.stage();
    d.open(tiny(), false);
    d.send(Command::Train(Steps::Count(3)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    d.send(Command::Train(Steps::Stage));
    d.send(Command::LoseDevice);
    d.until(|e| matches!(e, Event::Fault(f) if f.kind == FaultKind::DeviceLost).then_some(()));
    d.until(|e| matches!(e, Event::Recovered { .. }).then_some(()));
    d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
    assert_eq!(losses(&d.log.hive), losses(&undisturbed.log.hive));
}

#[test]
fn stages_can_be_skipped_and_reset_goes_back_to_the_seed() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Enter(Stage::Vision));
    let trained = d.until(|e| if let Event::Entered { costs, .. } = e { Some(costs[0].step.trained) } else { None });
    assert!(trained > 100_000, "{trained}");
    assert_eq!(d.stage(), Stage::Vision);
    let first = losses(&d.log.hive);
    d.send(Command::Reset);
    d.until(|e| matches!(e, Event::Opened(_)).then_some(()));
    assert_eq!(d.log.steps(), 0);
    d.send(Command::Enter(Stage::Vision));
    d.stage();
    assert_eq!(losses(&d.log.hive), first);
}

#[test]
fn all_stages_run_one_after_the_other_while_nobody_listens() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Train(Steps::All));
    d.all_stages();
    assert_eq!(d.log.steps(), 18);
    assert_eq!(d.log.hive.iter().map(|p| p.stage).collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn all_stages_end_early_where_they_are_paused_or_cut_to_the_one_in_progress() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Train(Steps::All));
    d.until(|e| matches!(e, Event::Step(_)).then_some(()));
    d.send(Command::Pause);
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    assert!(d.log.steps() < 6, "{}", d.log.steps());
    d.send(Command::Train(Steps::All));
    d.send(Command::Train(Steps::Stage));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    assert_eq!(d.until(|e| if let Event::StageDone(s) = e { Some(*s) } else { None }), Stage::Connector);
    assert_eq!(d.log.steps(), 6);
}

#[test]
fn all_stages_go_on_after_a_lost_device() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Train(Steps::All));
    // Taken before anything of the next stage is done.
    d.until(|e| matches!(e, Event::StageDone(Stage::Connector)).then_some(()));
    d.send(Command::LoseDevice);
    d.until(|e| matches!(e, Event::Fault(f) if f.kind == FaultKind::DeviceLost).then_some(()));
    d.all_stages();
    assert_eq!(d.log.steps(), 18);
}

#[test]
fn another_recipe_takes_effect_at_once_and_a_bad_one_is_refused() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Train(Steps::Count(1)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    let mut recipe = tiny().stage(Stage::Connector).unwrap().clone();
    (recipe.steps, recipe.learning_rate) = (4, 0.5);
    d.send(Command::Recipe(Stage::Connector, Box::new(recipe.clone())));
    d.until(|e| matches!(e, Event::Entered { update: 1, .. }).then_some(()));
    d.stage();
    assert_eq!(d.log.steps(), 4);
    assert!(d.log.hive[2].learning_rate > 0.1);
    recipe.batch = 0;
    d.send(Command::Recipe(Stage::Connector, Box::new(recipe)));
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("stage 1 batch"), "{what}");
}

#[test]
fn what_was_to_follow_an_opening_that_fails_does_not_happen_to_what_stays_open() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Open(Open {
        preset: Box::new(Preset { data: "none".into(), ..tiny() }),
        beside: None,
        trained: false,
    }));
    d.send(Command::Enter(Stage::Vision));
    d.send(Command::Train(Steps::Count(1)));
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("none-start"), "{what}");
    d.send(Command::Save(Box::default()));
    let name = d.until(|e| if let Event::File { name, .. } = e { Some(name.clone()) } else { None });
    assert_eq!(name, "tiny-stage0-0.hiverun");
}

#[test]
fn answers_stream_with_probabilities_probes_and_maps() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.send(Command::Open(Open { preset: Box::new(assets::preset("shapes").unwrap()), beside: None, trained: true }));
    let opened = d.until(|e| if let Event::Opened(o) = e { Some(o.clone()) } else { None });
    assert_eq!(opened.stage, Some(Stage::Vision));
    let question = d.question();
    d.send(Command::Ask(question.clone()));
    let word = d.until(|e| if let Event::Token { id: 7, word } = e { Some(word.clone()) } else { None });
    let answer = d.until(|e| if let Event::Answered(a) = e { Some(a.clone()) } else { None });
    assert_eq!(answer.words[0], word);
    assert!((0.0..=1.0).contains(&word.probability));
    // The greedy path and the teacher-forced pass must agree on how likely the answer is.
    let product: f32 = answer.words.iter().map(|w| w.probability).product();
    assert!(answer.probability > 0.0 && answer.probability <= product * 1.001, "{} {product}", answer.probability);
    let mut probes = Vec::new();
    while probes.len() < 3 {
        probes.push(d.until(|e| if let Event::Probed { id: 7, probe } = e { Some(probe.clone()) } else { None }));
    }
    assert!(probes.iter().any(|p| p.original < answer.probability * 0.9), "{answer:?} {probes:?}");
    let maps = answer.maps.unwrap();
    let words = maps.tokens.len();
    assert_eq!(maps.values.len(), maps.layers.len() * maps.heads * words * maps.side * maps.side);
    assert_ne!(maps.map(1, None, 1), maps.map(1, None, maps.first_answer));
    for layer in 0..maps.layers.len() {
        let mass: f32 = maps.map(layer, None, maps.first_answer).iter().sum();
        assert!((0.0..=1.001).contains(&mass), "layer {layer}: {mass}");
    }

    // With nothing cut it is the same answer; without any link it does not come from the picture.
    d.send(Command::CutLinks(question.clone()));
    let mut cuts = Vec::new();
    while cuts.len() < 5 {
        let told = |e: &Event| if let Event::Cut { id: 7, cut, of: 5 } = e { Some(cut.clone()) } else { None };
        cuts.push(d.until(told));
    }
    let links: Vec<_> = cuts.iter().map(|c| c.links.clone()).collect();
    assert_eq!(links[..4], [vec![], vec![(0, 3)], vec![(1, 3)], vec![(2, 3)]]);
    assert_eq!(links[4], [(0, 3), (1, 3), (2, 3)]);
    let text = |words: &[hive::engine::Word]| words.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
    assert_eq!(text(&cuts[0].words), text(&answer.words));
    assert!((cuts[0].original - answer.probability).abs() < 1e-3, "{cuts:?}");
    assert!(cuts[4].original < answer.probability * 0.9, "{cuts:?}");
    assert!(cuts[1..4].iter().any(|c| (c.original - answer.probability).abs() > 1e-3), "{cuts:?}");

    d.send(Command::Ask(Question { text: "  ? ".into(), ..question.clone() }));
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("empty"), "{what}");
    d.send(Command::Ask(Question { pixels: Arc::new(vec![0.0; 5]), ..question }));
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("3 x 32 x 32"), "{what}");
}

#[test]
fn more_of_stage_two_stands_beside_stage_three() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    let beside = Some(Beside::MoreOfStageTwo);
    d.send(Command::Open(Open { preset: Box::new(tiny()), beside: beside.clone(), trained: false }));
    d.stage();
    d.stage();
    d.send(Command::Train(Steps::Count(2)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    d.send(Command::Save(Box::new(d.log.clone())));
    let bytes = d.until(|e| if let Event::File { bytes, .. } = e { Some(Arc::clone(bytes)) } else { None });
    d.stage();
    let [hive, more] = Lane::ALL.map(|lane| losses(d.log.points(lane)));
    assert_eq!(hive[..12], more[..12], "until stage 3 both are the same");
    assert_eq!((more.len(), more[17].1), (18, Stage::Vision));
    assert!(hive[12..].iter().zip(&more[12..]).all(|(a, b)| a != b));
    let trained = |lane: Lane| {
        let norms = d.log.norms.iter().filter(|n| n.lane == lane).flat_map(|n| &n.norms);
        norms.filter(|(block, _)| matches!(block, BlockId::Tower(_))).count()
    };
    assert!(trained(Lane::Hive) > 0 && trained(Lane::Control) == 0, "its tower stays as it is");
    // Another session goes on in the middle of it.
    let mut other = Driver::start(GpuOptions::default()).unwrap();
    other.send(Command::Load { name: "run".into(), bytes: bytes.to_vec() });
    let opened = other.until(|e| if let Event::Opened(o) = e { Some(o.clone()) } else { None });
    assert_eq!((opened.stage, opened.beside), (Some(Stage::Vision), beside));
    assert_eq!(other.stage(), Stage::Vision);
    assert_eq!(Lane::ALL.map(|lane| losses(other.log.points(lane))), [hive, more]);
    assert_eq!(other.log.name(Lane::Control), "more of stage 2");
    // Stage 2 entered again has the recipe of stage 2 in both.
    d.send(Command::Enter(Stage::Adaptation));
    d.send(Command::Train(Steps::Count(1)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    let [a, b] = Lane::ALL.map(|lane| d.log.points(lane).last().unwrap().learning_rate);
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

#[test]
fn other_links_stand_beside_and_the_same_ones_are_refused() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    let mut open = |links: &str| {
        let beside = Some(Beside::Links(links.to_owned()));
        d.send(Command::Open(Open { preset: Box::new(tiny()), beside, trained: false }));
        d.until(|e| if let Event::Opened(o) = e { Some(o.beside.clone()) } else { None })
    };
    assert_eq!(open("1,2,3"), Some(Beside::Links("1,2,3".into())));
    assert_eq!(open("3,3,3"), None);
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("same links, 3,3,3"), "{what}");
    d.send(Command::Open(Open { preset: Box::new(tiny()), beside: "links:1,2,3".parse().ok(), trained: false }));
    d.send(Command::Train(Steps::Count(1)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    let [a, b] = Lane::ALL.map(|lane| losses(d.log.points(lane)));
    assert!(a.len() == 1 && b.len() == 1 && a != b, "{a:?} {b:?}");
}

#[test]
fn the_measurement_of_the_depths_can_be_stopped() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(assets::preset("pictures").unwrap(), false);
    d.send(Command::MeasureDepths);
    d.until(|e| matches!(e, Event::Measuring(Some(share)) if *share > 0.0).then_some(()));
    d.send(Command::Cancel);
    // A refused recipe waits for the measurement, and is told after it.
    let recipe = Box::new(hive::engine::StageRecipe { batch: 0, ..tiny().stage(Stage::Connector).unwrap().clone() });
    d.send(Command::Recipe(Stage::Connector, recipe));
    d.until(|e| match e {
        Event::Depths { .. } => panic!("it was not stopped"),
        Event::Fault(f) => f.what.contains("stage 1 batch").then_some(()),
        _ => None,
    });
    d.open(tiny(), false);
    d.send(Command::MeasureDepths);
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.contains("\"shapes\" have no attributes"), "{what}");
    assert!(d.log.depths.is_empty());
}

#[test]
fn a_pinned_question_leaves_a_map_per_step() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Pin(Some(d.question())));
    d.stage();
    assert_eq!(d.log.snapshots.len(), 7, "one at once, one per step of six");
    let (first, last) = (d.log.snapshots.get(0).unwrap(), d.log.snapshots.get(6).unwrap());
    assert_eq!((first.0, last.0), (0, 6));
    assert_ne!(first.1.map(0, None, 1), last.1.map(0, None, 1), "training moved the map");
}

#[test]
fn a_file_that_is_no_run_is_told_by_name_and_nothing_is_lost() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    d.open(tiny(), false);
    d.send(Command::Load { name: "holiday.png".into(), bytes: vec![1, 2, 3] });
    let what = d.until(|e| if let Event::Fault(f) = e { Some(f.what.clone()) } else { None });
    assert!(what.starts_with("holiday.png cannot be opened"), "{what}");
    assert_eq!(d.stage(), Stage::Connector);
}

#[test]
fn a_wrong_kernel_turns_the_self_test_red() {
    let op = "gelu";
    let options = GpuOptions { sabotage: vec![hive::ops::gelu::SABOTAGES[0].clone()], ..GpuOptions::default() };
    let Some(mut d) = Driver::start(options) else { return };
    d.send(Command::Verify);
    let told = |e: &Event| match e {
        Event::Fault(f) if f.kind == FaultKind::SelfTest && f.detail.contains(op) => Some(f.detail.lines().count()),
        _ => None,
    };
    assert_eq!(d.until(told), 1, "the first is told at once");
    let wrong = d.until(|e| match e {
        Event::SelfTest(t) if t.done == t.of => Some(t.wrong.clone()),
        _ => None,
    });
    assert!(wrong.len() > 1 && wrong[0].0.starts_with(op), "{wrong:?}");
    assert_eq!(d.until(told), wrong.len(), "all are told in the end");
}
