//! What came of a study: a page that opens offline, with everything in it, and the same tables as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::demo;
use super::fault::Fault;
use super::figures::{Table, bar_chart};
use super::report::{self, Example, chart, escape};
use super::shared::load;
use crate::engine::assets::made_source;
use crate::gpu::Gpu;
use crate::nn::params::Weights;
use crate::train::depths::Depths;
use crate::train::evaluate::{Label, Picture};
use crate::train::recipe::Preset;
use crate::train::run::Run;
use crate::train::stage::Stage;
use crate::train::statistics::{chance_of_difference, mean_and_deviation, median};
use crate::train::study::{Arm, Judged, Outcome, REFERENCE, Row, Settings, StepCost, UNTOUCHED};

/// Everything that is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Study {
    pub(super) preset: Preset,
    pub(super) settings: Settings,
    pub(super) seeds: Vec<u64>,
    pub(super) quick: bool,
    pub(super) adapter: String,
    /// Most pieces of work at a time so far; none where this was not kept yet.
    pub(super) jobs: Option<usize>,
    /// By arm: factor of the rates, and the share of validation questions answered exactly.
    #[serde(with = "crate::train::floats")]
    pub(super) tuning: BTreeMap<String, Vec<(f64, f64)>>,
    pub(super) outcomes: Vec<Outcome>,
    /// The tower before any stage, by the seed of what was trained on it.
    pub(super) untouched: Vec<(u64, Judged)>,
}

/// Where the model of an arm is kept.
pub(super) fn trained(out: &Path, arm: &str, seed: u64) -> PathBuf {
    out.join(format!("{}-{seed}.safetensors", arm.replace([' ', ','], "-")))
}

/// A part of the report.
struct Section {
    title: &'static str,
    about: String,
    table: Table,
    /// Figures below the table, on the page.
    figures: String,
}

const AFTER: Label = Label { stage: Some(Stage::Vision), picture: Picture::Own, more: false };
const SWAPPED: Label = Label { picture: Picture::Swapped, ..AFTER };

fn of<'a>(study: &'a Study, arm: &'a str) -> impl Iterator<Item = &'a Outcome> {
    study.outcomes.iter().filter(move |o| o.arm == arm)
}

/// Shares of right answers, one per seed.
fn shares(study: &Study, arm: &str, label: Label) -> Vec<f64> {
    of(study, arm).filter_map(|o| o.row(label)).map(|r| r.scores.all.value()).collect()
}

fn spread(values: &[f64]) -> String {
    let (mean, deviation) = mean_and_deviation(values);
    match values.len() {
        0 => "-".into(),
        1 => format!("{mean:.3}"),
        _ => format!("{mean:.3} ± {deviation:.3}"),
    }
}

/// The probability that two arms differ so much by chance, over the questions of all seeds that both have.
fn chance(study: &Study, a: &str, b: &str, row: &dyn Fn(&Outcome) -> Option<Row>) -> Option<f64> {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for o in of(study, a) {
        let same = of(study, b).find(|x| x.seed == o.seed);
        if let (Some(x), Some(y)) = (row(o), same.and_then(row)) {
            one.extend(x.hits());
            other.extend(y.hits());
        }
    }
    (!one.is_empty()).then(|| chance_of_difference(&one, &other))
}

fn probability(p: Option<f64>) -> String {
    p.map_or("-".into(), |p| if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") })
}

fn compared<'a>(study: &'a Study, arms: &'a [Arm]) -> impl Iterator<Item = &'a Arm> {
    arms.iter().filter(|a| a.compared && of(study, &a.name).next().is_some())
}

fn answers(study: &Study, arms: &[Arm]) -> Section {
    let mut table = Table::new([
        "links",
        "alone",
        "stage 1",
        "stage 2",
        "stage 3",
        "more of stage 2 instead",
        "stage 3, pictures swapped",
        "difference by chance",
    ]);
    let mut bars = Vec::new();
    for arm in compared(study, arms) {
        let cell = |label| spread(&shares(study, &arm.name, label));
        let p = chance(study, REFERENCE, &arm.name, &|o| o.row(AFTER).cloned());
        table.rows.push(vec![
            arm.name.clone(),
            cell(Label::ALONE),
            cell(Label::after(Stage::Connector)),
            cell(Label::after(Stage::Adaptation)),
            cell(AFTER),
            cell(Label::INSTEAD),
            cell(SWAPPED),
            if arm.name == REFERENCE { "-".into() } else { probability(p) },
        ]);
        bars.push((arm.name.clone(), mean_and_deviation(&shares(study, &arm.name, AFTER))));
    }
    Section {
        title: "Answers",
        about: format!(
            "Share of held-out questions answered exactly, mean ± standard deviation over seeds. Chance: McNemar's exact test \
             against \"{REFERENCE}\" after stage 3, over the questions of all seeds; the seeds share their questions, so it is a \
             little too sure of itself."
        ),
        table,
        figures: bar_chart("answers after stage 3", &bars, &[REFERENCE, "paper"]),
    }
}

fn kinds(study: &Study, arms: &[Arm]) -> Section {
    let names: Vec<String> = study
        .outcomes
        .iter()
        .find_map(|o| o.row(AFTER))
        .map_or(Vec::new(), |r| r.scores.kinds.keys().cloned().collect());
    let mut table = Table::new(["links".to_owned(), "several things".to_owned()].into_iter().chain(names.clone()));
    for arm in compared(study, arms) {
        let rows: Vec<&Row> = of(study, &arm.name).filter_map(|o| o.row(AFTER)).collect();
        let mean = |f: &dyn Fn(&Row) -> f64| {
            format!("{:.2}", mean_and_deviation(&rows.iter().map(|r| f(r)).collect::<Vec<_>>()).0)
        };
        let kind = |k: &String| mean(&|r: &Row| r.scores.kinds.get(k).map_or(0.0, |s| s.value()));
        let cells = [arm.name.clone(), mean(&|r| r.scores.several.value())];
        table.rows.push(cells.into_iter().chain(names.iter().map(kind)).collect());
    }
    let about = "After stage 3, by kind of question, means over seeds.".into();
    Section { title: "Kinds of questions", about, table, figures: String::new() }
}

fn towers(study: &Study, arms: &[Arm]) -> Section {
    let mut table = Table::new(["tower", "downstream", "difference by chance"]);
    let downstream = |o: &Outcome| o.judged.as_ref().and_then(|j| j.downstream.clone());
    let value = |row: &Row| row.scores.all.value();
    let untouched: Vec<(u64, &Row)> =
        study.untouched.iter().filter_map(|(s, j)| Some((*s, j.downstream.as_ref()?))).collect();
    let values: Vec<f64> = untouched.iter().map(|(_, r)| value(r)).collect();
    table.rows.push(vec![UNTOUCHED.into(), spread(&values), "-".into()]);
    for arm in compared(study, arms) {
        let rows: Vec<(u64, Row)> = of(study, &arm.name).filter_map(|o| Some((o.seed, downstream(o)?))).collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (seed, row) in &rows {
            if let Some((_, other)) = untouched.iter().find(|(s, _)| s == seed) {
                a.extend(row.hits());
                b.extend(other.hits());
            }
        }
        let p = (!a.is_empty()).then(|| chance_of_difference(&a, &b));
        let values: Vec<f64> = rows.iter().map(|(_, r)| value(r)).collect();
        table.rows.push(vec![arm.name.clone(), spread(&values), probability(p)]);
    }
    Section {
        title: "What each tower is worth to another model",
        about: "The tower after stage 3, frozen. The language model as it was at the start learns to see through it in LLaVA's \
                wiring (the last state but one as tokens of the text, two stages). Held-out answers; chance against the tower \
                that no stage touched."
            .into(),
        table,
        figures: String::new(),
    }
}

/// Mean over seeds of a kind of probe.
fn probed(all: &[&Depths]) -> Option<Depths> {
    let first = *all.first()?;
    let mean = |d: usize, a: usize| all.iter().map(|x| x.shares[d][a]).sum::<f64>() / all.len() as f64;
    let shares = (0..first.shares.len()).map(|d| (0..first.attributes.len()).map(|a| mean(d, a)).collect()).collect();
    Some(Depths { attributes: first.attributes.clone(), shares })
}

fn probes(study: &Study, arms: &[Arm]) -> Vec<Section> {
    let mut out = Vec::new();
    for kind in &study.settings.probes {
        let mut towers: Vec<(String, Vec<&Depths>)> =
            vec![(UNTOUCHED.into(), study.untouched.iter().filter_map(|(_, j)| j.probes.get(kind)).collect())];
        for arm in compared(study, arms) {
            let found = of(study, &arm.name).filter_map(|o| o.judged.as_ref()?.probes.get(kind)).collect();
            towers.push((arm.name.clone(), found));
        }
        let Some(shape) = towers.iter().find_map(|(_, d)| probed(d)) else { continue };
        let heads = ["tower".to_owned(), "depth".to_owned()];
        let names = shape.attributes.iter().map(|(name, guess)| format!("{name} ({guess:.2} guessed)"));
        let mut table = Table::new(heads.into_iter().chain(names));
        for (tower, found) in &towers {
            for (depth, row) in probed(found).map_or(Vec::new(), |d| d.shares).iter().enumerate() {
                let cells = [tower.clone(), depth.to_string()];
                table.rows.push(cells.into_iter().chain(row.iter().map(|v| format!("{v:.2}"))).collect());
            }
        }
        let title = match kind.as_str() {
            "attentive" => "Where answers live: attentive probes",
            "linear" => "Where answers live: linear probes",
            _ => "Where answers live: probes in a link's form",
        };
        let about =
            "Share of things in held-out scenes whose attribute the probe reads right, means over seeds.".into();
        out.push(Section { title, about, table, figures: String::new() });
    }
    out
}

/// Under what load the times of steps were measured.
fn load_of_times(jobs: Option<usize>) -> String {
    match jobs {
        Some(1) => String::new(),
        Some(n) => format!(
            " Up to {n} pieces of work ran at a time on this machine, and steps waited for each other: alone they are faster."
        ),
        None => {
            " How many pieces of work ran at a time was not kept: if there were several, steps waited for each other."
                .into()
        }
    }
}

fn costs(study: &Study, arms: &[Arm]) -> Section {
    let mut table = Table::new(["links", "stage", "GFLOP per step", "ms per step", "MB", "dispatches", "of flattened"]);
    let cost = |arm: &str, stage: Stage| -> Option<StepCost> {
        let all: Vec<&StepCost> = of(study, arm).flat_map(|o| &o.costs).filter(|c| c.stage == stage).collect();
        let secs = median(all.iter().map(|c| c.secs).collect())?;
        Some(StepCost { secs, ..(*all.first()?).clone() })
    };
    for arm in compared(study, arms) {
        for stage in Stage::ALL {
            let Some(c) = cost(&arm.name, stage) else { continue };
            let ratio = cost("flattened", stage).map_or("-".into(), |f| {
                let bytes = c.bytes as f64 / f.bytes as f64;
                format!("FLOPs {:.2}, time {:.2}, bytes {bytes:.2}", c.flops / f.flops, c.secs / f.secs)
            });
            table.rows.push(vec![
                arm.name.clone(),
                stage.number().to_string(),
                format!("{:.2}", c.flops * 1e-9),
                format!("{:.0}", c.secs * 1e3),
                format!("{:.1}", c.bytes as f64 * 1e-6),
                c.dispatches.to_string(),
                ratio,
            ]);
        }
    }
    Section {
        title: "What a step costs",
        about: format!(
            "FLOPs are computed, time (median) and bytes (parameters, gradients, moments, temporaries) measured.{} The paper \
             claims 0.14 of the control's FLOPs, 3.4 times its speed and 59.3 % less memory, at 576 image tokens and a large \
             language model; `hive plan --preset hive-siglip-large` counts a step of that size.",
            load_of_times(study.jobs)
        ),
        table,
        figures: String::new(),
    }
}

fn gradients(study: &Study, arms: &[Arm]) -> Section {
    let block = |name: &str| -> Option<usize> {
        name.strip_prefix("vision_model.encoder.layers.")?.split('.').next()?.parse().ok()
    };
    let mut lines: Vec<(String, BTreeMap<usize, f64>)> = Vec::new();
    for arm in compared(study, arms) {
        let (mut squares, mut seeds) = (BTreeMap::<usize, f64>::new(), 0);
        for o in of(study, &arm.name).filter(|o| !o.norms.is_empty()) {
            seeds += 1;
            for (name, norm) in &o.norms {
                if let Some(b) = block(name) {
                    *squares.entry(b).or_default() += norm * norm;
                }
            }
        }
        lines.push((
            arm.name.clone(),
            squares.into_iter().map(|(b, s)| (b, (s / f64::from(seeds.max(1))).sqrt())).collect(),
        ));
    }
    let count = lines.iter().flat_map(|(_, l)| l.keys()).max().map_or(0, |b| b + 1);
    let mut table = Table::new(["links".to_owned()].into_iter().chain((0..count).map(|b| format!("block {b}"))));
    for (name, line) in &lines {
        let cell = |b: usize| line.get(&b).map_or("-".into(), |v| format!("{v:.4}"));
        table.rows.push([name.clone()].into_iter().chain((0..count).map(cell)).collect());
    }
    let curves: Vec<(String, Vec<(f64, f64)>)> =
        lines.into_iter().map(|(name, line)| (name, line.into_iter().map(|(b, v)| (b as f64, v)).collect())).collect();
    Section {
        title: "Does the loss reach the tower's early blocks?",
        about: "Norm of the gradient of each block of the tower in stage 3, before clipping, mean over the stage and seeds.".into(),
        table,
        figures: chart("gradient norm by block of the tower", &curves),
    }
}

fn cuts(study: &Study, arms: &[Arm]) -> Section {
    let mut table = Table::new(["links", "cut", "answers", "change", "kinds that lose most"]);
    for arm in compared(study, arms) {
        let layers: Vec<usize> =
            of(study, &arm.name).next().map_or(Vec::new(), |o| o.cut.iter().map(|c| c.0).collect());
        for layer in layers {
            let depth =
                arm.preset.model.link_config.link_of(layer).map(|i| arm.preset.model.link_config.vision_layers[i]);
            let (mut now, mut change) = (Vec::new(), Vec::new());
            let mut lost: BTreeMap<&str, f64> = BTreeMap::new();
            for o in of(study, &arm.name) {
                let (Some((_, cut)), Some(whole)) = (o.cut.iter().find(|c| c.0 == layer), o.row(AFTER)) else {
                    continue;
                };
                now.push(cut.scores.all.value());
                change.push(cut.scores.all.value() - whole.scores.all.value());
                for (kind, s) in &whole.scores.kinds {
                    *lost.entry(kind).or_default() += s.value() - cut.scores.kinds.get(kind).map_or(0.0, |s| s.value());
                }
            }
            let mut lost: Vec<(&str, f64)> = lost.into_iter().map(|(k, v)| (k, v / now.len().max(1) as f64)).collect();
            lost.sort_by(|a, b| b.1.total_cmp(&a.1));
            let most: Vec<String> =
                lost.iter().take(3).filter(|l| l.1 > 0.02).map(|(k, v)| format!("{k} -{v:.2}")).collect();
            table.rows.push(vec![
                arm.name.clone(),
                format!("layer {} (depth {})", layer + 1, depth.unwrap_or(0)),
                spread(&now),
                format!("{:+.3}", mean_and_deviation(&change).0),
                most.join(", "),
            ]);
        }
    }
    let about = "After stage 3, one link cut when answers are given: that layer sees no picture.".into();
    Section { title: "A link cut at answer time", about, table, figures: String::new() }
}

fn taken_away(study: &Study, arms: &[Arm]) -> Section {
    let mut table = Table::new(["without", "what that is", "last stage", "difference", "difference by chance"]);
    let last = |o: &Outcome| o.rows.iter().rfind(|r| r.label.picture == Picture::Own && !r.label.more).cloned();
    for arm in arms.iter().filter(|a| !a.compared) {
        let Some(o) = of(study, &arm.name).next() else { continue };
        let whole = of(study, REFERENCE).find(|r| r.seed == o.seed).and_then(last);
        let (Some(row), Some(whole)) = (last(o), whole) else { continue };
        table.rows.push(vec![
            arm.name.clone(),
            arm.about.clone(),
            format!("{:.3}", row.scores.all.value()),
            format!("{:+.3}", row.scores.all.value() - whole.scores.all.value()),
            probability(chance(study, REFERENCE, &arm.name, &last)),
        ]);
    }
    let about = format!(
        "\"{REFERENCE}\" with something changed, first seed alone: differences of a few points may be that seed's."
    );
    Section { title: "Parts taken away", about, table, figures: String::new() }
}

/// What the numbers say of the paper's claims, one sentence each.
fn findings(study: &Study, arms: &[Arm]) -> Vec<String> {
    let mean = |arm: &str, label| -> Option<f64> {
        let values = shares(study, arm, label);
        (!values.is_empty()).then(|| mean_and_deviation(&values).0)
    };
    let mut out = Vec::new();
    let Some(own) = mean(REFERENCE, AFTER) else { return out };
    let singles = compared(study, arms).filter(|a| a.name.starts_with("depth "));
    let best = singles.filter_map(|a| Some((a, mean(&a.name, AFTER)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let mut against = |what: &str, name: &str, other: f64| {
        let p = chance(study, REFERENCE, name, &|o| o.row(AFTER).cloned());
        let verdict = match p {
            Some(p) if p < 0.05 && own > other => "holds",
            Some(p) if p < 0.05 => "does not hold",
            _ => "cannot be said",
        };
        out.push(format!("{what}: {own:.3} against {other:.3} ({name}), chance {}: {verdict} here.", probability(p)));
    };
    if let Some((arm, other)) = best {
        against("Links at several depths answer more than all links at the best single depth", &arm.name, other);
    }
    for name in ["flattened", "flattened, published", "paper"] {
        if let Some(other) = mean(name, AFTER) {
            against(&format!("\"{REFERENCE}\" answers more than \"{name}\""), name, other);
        }
    }
    for arm in compared(study, arms) {
        if let (Some(three), Some(more)) = (mean(&arm.name, AFTER), mean(&arm.name, Label::INSTEAD)) {
            let name = &arm.name;
            out.push(format!("Stage 3 against as many more steps of stage 2, \"{name}\": {:+.3}.", three - more));
        }
    }
    out
}

fn sections(study: &Study, arms: &[Arm]) -> Vec<Section> {
    let mut out = vec![answers(study, arms), kinds(study, arms), towers(study, arms)];
    out.extend(probes(study, arms));
    out.extend([costs(study, arms), gradients(study, arms), cuts(study, arms), taken_away(study, arms)]);
    out.retain(|s| !s.table.rows.is_empty());
    out
}

fn head(study: &Study) -> String {
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    let steps: Vec<String> = study
        .preset
        .stages
        .iter()
        .map(|(s, r)| format!("stage {} {} steps of {}", s.number(), r.steps, r.batch))
        .collect();
    let quick = if study.quick { "A quick look: short stages, few arms; differences say little. " } else { "" };
    format!(
        "{quick}Preset {}, seeds {}, {}, {} held-out questions, on {}.",
        study.preset.name,
        seeds.join(", "),
        steps.join(", "),
        study.settings.questions,
        study.adapter
    )
}

/// As Markdown.
pub(super) fn text(study: &Study, arms: &[Arm]) -> String {
    let mut out = format!("{}\n\n", head(study));
    findings(study, arms).iter().for_each(|f| out += &format!("- {f}\n"));
    for s in sections(study, arms) {
        let _ = write!(out, "\n## {}\n\n{}\n\n{}", s.title, s.about, s.table.markdown());
    }
    if !study.tuning.is_empty() {
        let _ = write!(out, "\n## Learning rates\n\n{}\n\n{}", RATES, tuning(study).markdown());
    }
    out
}

const RATES: &str =
    "Share of validation questions answered exactly after short stages, by the factor on all learning rates.";

fn tuning(study: &Study) -> Table {
    let heads = ["links".to_owned()].into_iter().chain(study.settings.rates.iter().map(|r| format!("x {r}")));
    let mut table = Table::new(heads);
    for (arm, tried) in &study.tuning {
        table.rows.push([arm.clone()].into_iter().chain(tried.iter().map(|t| format!("{:.3}", t.1))).collect());
    }
    table
}

/// As a page.
pub(super) fn html(study: &Study, arms: &[Arm], looks: &[Example]) -> String {
    let mut out = report::begin("Hive: a study of links and depths");
    let _ = write!(out, "<h1>Which depths should a language model read?</h1><p>{}</p><ul>", escape(&head(study)));
    findings(study, arms).iter().for_each(|f| {
        let _ = write!(out, "<li>{}</li>", escape(f));
    });
    out += "</ul>";
    for s in sections(study, arms) {
        let _ = write!(out, "<h2>{}</h2><p>{}</p>{}{}", s.title, escape(&s.about), s.table.html(), s.figures);
    }
    if !looks.is_empty() {
        let about =
            "\"Deep first\", first seed. Where each linked layer looks while it writes the first word of the answer.";
        let _ = write!(out, "<h2>Where links look</h2><p>{about}</p><div class=\"examples\">");
        looks.iter().for_each(|e| out += &report::example(e));
        out += "</div>";
    }
    if !study.tuning.is_empty() {
        let _ = write!(out, "<h2>Learning rates</h2><p>{RATES}</p>{}", tuning(study).html());
    }
    out + "</body></html>\n"
}

/// Held-out questions with the maps of every link, of the reference arm's first seed; none where it was not trained.
pub(super) fn looks(gpu: &Gpu, out: &Path, study: &Study, start: &Weights) -> Result<Vec<Example>, Fault> {
    let Some(outcome) = of(study, REFERENCE).next() else { return Ok(Vec::new()) };
    let checkpoint = load(&trained(out, REFERENCE, outcome.seed).to_string_lossy())?;
    let before = Run::new(gpu, study.preset.clone(), made_source(&study.preset)?, start)?;
    let source = made_source(&checkpoint.meta.preset)?;
    let run = Run::resume(gpu, checkpoint, source)?;
    let samples = demo::example_samples(&run);
    let (before, after) = (demo::answers(&before, &samples)?, demo::answers(&run, &samples)?);
    let maps = demo::attention(&run, &samples)?;
    demo::examples(&run, samples, &before, &after, maps)
}
