//! `hive probe`: trained and judged on small sets, ended and taken up, and what it says of wrong words.

use std::path::{Path, PathBuf};

use hive::data::rng::Rng;
use hive::model::config::VisionConfig;
use hive::model::probe::{Kind, Probe, Sizes};
use hive::nn::params::Weights;
use hive::platform::block_on;
use hive::train::class_probe::{self, Judged, Pace, Seen, Setup};
use hive::train::features::Features;
use serde_json::{Value, json};

use crate::common::program::{adapter, command, folder, hive, text};
use crate::common::{done, gpu};

const COLOURS: [[u8; 3]; 6] =
    [[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30], [20, 20, 20], [240, 240, 240]];

/// A set of six colours with noise: so many pictures of each class to train on and to test with. `shown` says which colour the pictures
/// of a class have to test.
fn colours(name: &str, counts: [usize; 2], shown: impl Fn(usize) -> usize) -> PathBuf {
    let root = folder(name);
    for (part, count) in [("train", counts[0]), ("val", counts[1])] {
        for class in 0..COLOURS.len() {
            let colour = COLOURS[if part == "val" { shown(class) } else { class }];
            let path = root.join(format!("set/{part}/class-{class}"));
            std::fs::create_dir_all(&path).unwrap();
            for i in 0..count {
                let mut rng = Rng::new(i as u64, class as u64 + 10 * u64::from(part == "val"));
                let picture = image::RgbImage::from_fn(20, 16, |_, _| {
                    image::Rgb(colour.map(|v| v.saturating_add(rng.below(15) as u8)))
                });
                picture.save(path.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    root
}

/// `hive probe` on the set in a folder, with the features beside it.
fn probe(root: &Path, more: &[&str]) -> Value {
    let (data, cache) = (root.join("set"), root.join("cache"));
    let words = ["probe", "--data", text(&data), "--model", "tiny", "--cache", text(&cache), "--json"];
    let said = hive(&[&words, more].concat()).code(0);
    assert_eq!(said.out.lines().count(), 1);
    said.json()
}

/// The file of features in a folder.
fn features(root: &Path) -> PathBuf {
    let all: Vec<PathBuf> = std::fs::read_dir(root.join("cache")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn probes_learn_colours_and_scores_are_those_of_the_pictures_that_are_held_out() {
    if !adapter() {
        return;
    }
    let root = colours("probe-colours", [3, 2], |class| class);
    let out = root.join("report.json");
    let found = probe(&root, &["--steps", "120", "--out", text(&out)]);
    let stored: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(stored, found);
    assert_eq!((&found["train"], &found["test"], &found["state"]), (&json!(18), &json!(12), &json!(3)));
    assert_eq!(found["set"], "folders");
    let probes = found["probes"].as_array().unwrap();
    assert_eq!(probes.iter().map(|p| p["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["attentive", "linear"]);
    for probe in probes {
        // By chance it is right of one in six, and the loss is 1.79.
        let least = if probe["kind"] == "linear" { 0.3 } else { 0.9 };
        assert!(probe["top1"].as_f64().unwrap() > least && probe["loss"].as_f64().unwrap() < 1.5, "{probe}");
        assert_eq!((&probe["top5"], &probe["steps"], &probe["batch"]), (&json!(1.0), &json!(120), &json!(18)));
        let rows: Vec<u64> = probe["confusion"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum())
            .collect();
        assert_eq!(rows, [2; 6]);
    }
    assert!(found["differs"].as_str().unwrap().contains("augmentation"));
    // Again: what was computed is taken up, and the result is the same. Another seed gives another one.
    let before = std::fs::read(features(&root)).unwrap();
    assert_eq!(probe(&root, &["--steps", "120"]), found);
    assert_eq!(std::fs::read(features(&root)).unwrap(), before);
    let other = probe(&root, &["--steps", "120", "--seed", "2", "--kind", "linear"]);
    assert_eq!(other["probes"].as_array().unwrap().len(), 1);
    assert_ne!(other["probes"][0]["loss"], found["probes"][1]["loss"]);
    // Few steps are at the paper's pace: five epochs of one step.
    assert_eq!(probe(&root, &["--kind", "linear"])["probes"][0]["steps"], 5);

    // Where every test picture has the colour of the next class, each is taken for it.
    let turned = colours("probe-turned", [3, 2], |class| (class + 1) % 6);
    let found = probe(&turned, &["--steps", "120", "--kind", "attentive"]);
    let probe = &found["probes"][0];
    assert!(probe["top1"].as_f64().unwrap() < 0.1, "{probe}");
    assert!(probe["confusion"][0][1].as_u64().unwrap() == 2, "{probe}");
}

#[test]
fn a_killed_run_goes_on_with_its_features() {
    if !adapter() {
        return;
    }
    let root = colours("probe-killed", [40, 2], |class| class);
    let (data, cache) = (root.join("set"), root.join("cache"));
    let words = ["probe", "--data", text(&data), "--model", "tiny", "--cache", text(&cache), "--steps", "3", "--json"];
    let mut child =
        command(&words).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let record = 16 + 4 * 64 * 48;
    let size = || std::fs::read_dir(&cache).ok()?.next()?.ok()?.metadata().ok().map(|about| about.len());
    while size().unwrap_or(0) < 32 + record && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let file = features(&root);
    let begun = std::fs::read(&file).unwrap();
    assert!(begun.len() as u64 >= 32 + record);
    // As if it had been ended in the middle of a record, whatever came of the kill.
    let begun = &begun[..begun.len().min(32 + 5 * record as usize) - 7];
    std::fs::write(&file, begun).unwrap();
    let found = probe(&root, &["--steps", "3"]);
    let after = std::fs::read(&file).unwrap();
    assert_eq!(after[..begun.len()], *begun, "what was there stays");
    assert_eq!((after.len() - 32) as u64, (6 * 42 + 1) * record, "one record is torn, all others are there");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(probe(&root, &["--steps", "3"]), found);
    // Other weights have a file of their own; a part of the pictures needs nothing new.
    let untouched = std::fs::read(&file).unwrap();
    let few = probe(&root, &["--steps", "3", "--limit", "20"]);
    assert_eq!((&few["train"], &few["test"]), (&json!(20), &json!(12)));
    assert_eq!(std::fs::read(&file).unwrap(), untouched);
    let words =
        ["probe", "--data", text(&data), "--model", "shapes", "--cache", text(&cache), "--steps", "1", "--limit", "6"];
    hive(&words).code(0);
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2);
}

#[test]
fn the_report_is_for_people_too() {
    if !adapter() {
        return;
    }
    let root = colours("probe-text", [4, 1], |class| class);
    let (data, cache) = (root.join("set/train"), root.join("cache"));
    let said =
        hive(&["probe", "--data", text(&data), "--model", "tiny", "--cache", text(&cache), "--kind", "attentive"])
            .code(0);
    for words in [
        "folders: 6 classes, 18 pictures to train, 6 to test",
        "tiny, untrained",
        "augmentation",
        "attentive probe: top-1",
        "class-5",
    ] {
        assert!(said.out.contains(words), "\"{words}\" is not in {}", said.out);
    }
    said.complains(&["one in five pictures of each class is held out"]);
}

#[test]
fn a_set_is_checked_without_a_tower() {
    let formats = "tests/fixtures-eval/formats";
    let pets = format!("{formats}/pets");
    let said = hive(&["probe", "--data", &pets, "--check", "--json", "--list"]).code(0);
    assert_eq!(said.out.lines().count(), 1);
    let found = said.json();
    assert_eq!((&found["set"], &found["pictures"], &found["left_out"]), (&json!("pets"), &json!(3), &json!(1)));
    assert_eq!(found["classes"], json!(["Round_Cat", "square_dog"]));
    assert_eq!(found["counts"], json!({"train": [1, 1], "test": [1, 0]}));
    let item = json!({"file": "images/Round_Cat_2.jpg", "part": "test", "label": 0, "name": "Round_Cat", "width": 64, "height": 48,
        "corner": [250, 250, 250], "centre": [16, 16, 16]});
    assert_eq!(found["items"][2], item);
    let said = hive(&["probe", "--data", &format!("{formats}/caltech256"), "--check"]).code(0);
    assert!(said.out.contains("caltech256: 3 classes, 3 pictures") && said.out.contains("257.clutter"), "{}", said.out);
    said.complains(&["held out"]);
    let said = hive(&["probe", "--data", &format!("{formats}/folders-malformed/broken-picture"), "--check"]);
    said.code(1).complains(&["round/a.png"]);
    let said = hive(&["probe", "--data", &format!("{formats}/cifar10/malformed/pickle-code"), "--check"]);
    said.code(1).complains(&["data_batch_1", "posix.system"]);
}

#[test]
fn wrong_words_are_said_before_anything_is_done() {
    let pets = "tests/fixtures-eval/formats/pets";
    let one = folder("probe-one-class");
    std::fs::create_dir_all(one.join("only")).unwrap();
    std::fs::copy("tests/fixtures-eval/formats/folders/train/round/a.png", one.join("only/a.png")).unwrap();
    let no_test = "tests/fixtures-eval/formats/cifar10/binary/cifar-10-batches-bin";
    let cases: [(&[&str], u8, &str); 12] = [
        (&["--model", "tiny"], 2, "--data DIR is missing"),
        (&["--data", pets], 2, "--model MODEL is missing"),
        (&["--data", pets, "--check", "--model", "tiny"], 2, "leave it or --model out"),
        (&["--data", pets, "--model", "tiny", "--list"], 2, "--list goes with --check"),
        (&["--data", pets, "--check", "--set", "mnist"], 2, "cifar10, imagenet, food101, pets, caltech256, folders"),
        (&["--data", pets, "--model", "tiny", "--kind", "knn"], 2, "linear or attentive"),
        (&["--data", pets, "--model", "tiny", "--steps", "0"], 2, "at least 1"),
        (&["--data", pets, "--model", "nobody"], 2, "\"nobody\" is none of them"),
        (&["--data", pets, "--model", "assets"], 2, "is a folder"),
        (&["--data", pets, "--set", "food101", "--check"], 1, "meta/classes.txt is not there"),
        (&["--data", text(&one), "--model", "tiny"], 1, "two at least"),
        (&["--data", no_test, "--model", "tiny", "--limit", "1"], 1, "two at least"),
    ];
    for (words, code, says) in cases {
        hive(&[&["probe"], words].concat()).code(code.into()).complains(&[says]);
    }
}

/// Width and patches of drawn features.
const W: usize = 16;
const N: usize = 4;
/// Classes and pictures.
const CLASSES: usize = 5;
const PICTURES: usize = 11;

/// A step of `AdamW` at this rate, in f64: decay 0.01 of what is a matrix.
fn adamw(
    values: &mut [f64],
    gradient: &[f64],
    (m, v): (&mut [f64], &mut [f64]),
    (rate, update): (f64, i32),
    is_matrix: bool,
) {
    for (i, w) in values.iter_mut().enumerate() {
        (m[i], v[i]) = (0.9 * m[i] + 0.1 * gradient[i], 0.999 * v[i] + 0.001 * gradient[i] * gradient[i]);
        let (mean, square) = (m[i] / (1.0 - 0.9_f64.powi(update)), v[i] / (1.0 - 0.999_f64.powi(update)));
        *w -= rate * (mean / (square.sqrt() + 1e-8) + if is_matrix { 0.01 * *w } else { 0.0 });
    }
}

/// The linear probe in plain loops: every step has all pictures. The loss of the last step.
fn linear(start: &Weights, features: &[Vec<f32>], classes: &[usize], (steps, peak): (i32, f64), eps: f64) -> f64 {
    let names = ["norm.weight", "norm.bias", "classifier.weight", "classifier.bias"];
    let mut values = names.map(|name| start[name].iter().map(|v| f64::from(*v)).collect::<Vec<f64>>());
    let zeros = values.clone().map(|v| vec![0.0; v.len()]);
    let (mut m, mut v, mut loss) = (zeros.clone(), zeros.clone(), 0.0);
    // Normed and averaged over patches; gain and bias come behind the mean as well as before it.
    let normed = |picture: &Vec<f32>| {
        let mut mean = vec![0.0; W];
        for row in picture.chunks(W) {
            let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let middle = row.iter().sum::<f64>() / W as f64;
            let spread = row.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / W as f64;
            mean.iter_mut().zip(&row).for_each(|(to, v)| *to += (v - middle) / (spread + eps).sqrt() / N as f64);
        }
        mean
    };
    let inputs: Vec<Vec<f64>> = features.iter().map(normed).collect();
    for update in 1..=steps {
        let mut gradients = zeros.clone();
        loss = 0.0;
        for (input, class) in inputs.iter().zip(classes) {
            let pooled: Vec<f64> = (0..W).map(|i| values[0][i] * input[i] + values[1][i]).collect();
            let logit = |c: usize| values[3][c] + (0..W).map(|i| values[2][c * W + i] * pooled[i]).sum::<f64>();
            let logits: Vec<f64> = (0..CLASSES).map(logit).collect();
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            loss += (sum.ln() - logits[*class]) / PICTURES as f64;
            for c in 0..CLASSES {
                let d = (logits[c].exp() / sum - f64::from(c == *class)) / PICTURES as f64;
                gradients[3][c] += d;
                for i in 0..W {
                    gradients[2][c * W + i] += d * pooled[i];
                    gradients[0][i] += d * values[2][c * W + i] * input[i];
                    gradients[1][i] += d * values[2][c * W + i];
                }
            }
        }
        let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let clip = (3.0 / (norm + 1e-6)).min(1.0);
        let warm = (0.03 * f64::from(steps)).ceil();
        let step = f64::from(update);
        let along = (step - warm) / (f64::from(steps) - warm);
        let rate =
            if step < warm { peak * step / warm } else { peak * 0.5 * (1.0 + (std::f64::consts::PI * along).cos()) };
        for part in 0..4 {
            gradients[part].iter_mut().for_each(|g| *g *= clip);
            adamw(&mut values[part], &gradients[part], (&mut m[part], &mut v[part]), (rate, update), part == 2);
        }
    }
    loss
}

#[test]
fn a_probe_trains_as_plain_loops_do_in_whatever_pieces() {
    let Some(gpu) = gpu() else { return };
    let root = folder("probe-loops");
    let mut features = block_on(Features::open(text(&root), 1, N * W)).unwrap();
    let mut rng = Rng::new(3, 4);
    let drawn: Vec<Vec<f32>> = (0..PICTURES).map(|_| (0..N * W).map(|_| rng.normal() * 2.0 + 0.5).collect()).collect();
    for (key, values) in drawn.iter().enumerate() {
        block_on(features.add(key as u64, values)).unwrap();
    }
    let seen: Vec<Seen> = (0..PICTURES).map(|i| (i as u64, i % CLASSES)).collect();
    let tower = VisionConfig {
        hidden_size: W,
        num_attention_heads: 2,
        image_size: 16,
        patch_size: 8,
        layer_norm_eps: 1e-3,
        ..VisionConfig::default()
    };
    let (steps, rate) = (60, 0.02);
    let mut judged = |kind: Kind, most: usize| -> Judged {
        let pace = Pace { epochs: 1, learning_rate: rate };
        let setup = Setup {
            tower: &tower,
            kind,
            classes: CLASSES,
            train: &seen,
            test: &seen,
            pace,
            steps: Some(steps),
            seed: 5,
            most,
        };
        block_on(class_probe::probe(&gpu, &mut features, &setup, |_, _, _| true)).unwrap().unwrap()
    };
    for kind in [Kind::Linear, Kind::Attentive] {
        let whole = judged(kind, class_probe::MOST);
        // Four pictures at a time, three in the last piece; one at a time.
        for most in [4 * N * W, 1] {
            let pieces = judged(kind, most);
            assert!(
                (pieces.loss - whole.loss).abs() < 2e-3 * whole.loss.max(0.1),
                "{kind:?}: {} {}",
                pieces.loss,
                whole.loss
            );
            assert_eq!((pieces.top1, &pieces.confusion), (whole.top1, &whole.confusion), "{kind:?}, {most}");
        }
        assert!(whole.loss < 0.5 && whole.top1 > 8, "{kind:?}: {whole:?}");
    }
    let sizes = Sizes { width: W, heads: 2, classes: CLASSES, eps: 1e-3 };
    let start = class_probe::start(&Probe::new(Kind::Linear, sizes).1, W, 5);
    let classes: Vec<usize> = seen.iter().map(|(_, class)| *class).collect();
    let (want, got) =
        (linear(&start, &drawn, &classes, (steps as i32, rate), 1e-3), judged(Kind::Linear, class_probe::MOST).loss);
    assert!((f64::from(got) - want).abs() < 1e-3 * want, "{got} and by plain loops {want}");
    done(&gpu);
}
