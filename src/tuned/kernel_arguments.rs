//! The kernel's command line: what `cmdline*` options of units for the plugin `bootloader` add up to.
//!
//! `+ARGS`, or bare ones, are added; `-ARGS` takes each of these away from what options before it have added, and from nothing else.
//! Options come in the order in which they are first written, parents before those that include them: no order of names. Of several
//! units only one counts: the last that has arguments, by priority.

use serde::Serialize;

use super::evaluate::Expander;
use super::finding::{Finding, What};
use super::profile::{Unit, Value, Written};
use super::python::{int, is_space, strip, unquote, words};
use super::{LoadError, Origin};

/// What tuned will write for the boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelArguments {
    /// All of them, as tuned writes them.
    pub line: String,
    /// The same, one by one, in order.
    pub append: Vec<Argument>,
    /// What `-ARGS` names, whether it was there or not.
    pub delete: Vec<Argument>,
    /// Whether `line` has functions in it that only the node can answer, or depends on a unit that only some nodes have.
    pub left_to_node: bool,
    /// `skip_grub_config`: tuned is told to write nothing for the boot loader, and only notes the arguments.
    pub skip_grub_config: bool,
}

/// A kernel argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// `iommu=pt`
    pub text: String,
    /// The option that has it: `cmdline_gpu`.
    pub option: String,
    /// The functions in it that are left to the node.
    pub left: Vec<String>,
    /// File and line of the option.
    #[serde(flatten)]
    pub origin: Origin,
}

/// The text that one option has added.
struct Piece<'a> {
    option: &'a str,
    written: &'a Written,
    text: String,
}

/// The arguments of all `units` together.
///
/// # Errors
/// What makes tuned break off.
pub fn arguments(units: &[Unit], expander: &mut Expander<'_>) -> Result<KernelArguments, LoadError> {
    let mut applied: Vec<&Unit> = units.iter().filter(|unit| unit.enabled && unit.plugin() == "bootloader").collect();
    applied.sort_by_key(|unit| unit.priority.as_ref().and_then(|written| int(&written.text)).unwrap_or_default());
    let (mut found, mut winner) = (KernelArguments::default(), None::<&Unit>);
    for unit in applied {
        let conditional = unit.kept[1].is_some() || unit.kept[2].is_some();
        let own = of_unit(unit, expander)?;
        found.skip_grub_config |= own.skip_grub_config && !conditional;
        if own.line.is_empty() {
            found.delete.extend(own.delete);
        } else if conditional {
            found.left_to_node = true;
        } else {
            if let Some(loser) = winner.replace(unit) {
                let what = What::ArgumentsLost { unit: loser.name.clone(), winner: unit.name.clone() };
                expander.findings.push(Finding { origin: loser.origin.clone(), what });
            }
            let skip_grub_config = found.skip_grub_config;
            found = KernelArguments { skip_grub_config, ..own };
        }
    }
    expander.findings.extend(two_values(&found.append));
    Ok(found)
}

fn of_unit(unit: &Unit, expander: &mut Expander<'_>) -> Result<KernelArguments, LoadError> {
    let (mut pieces, mut found) = (Vec::<Piece<'_>>::new(), KernelArguments::default());
    for (option, value) in &unit.options {
        let Value::Text(written) = value else { continue };
        let mut tell = |what| expander.findings.push(Finding { origin: written.origin.clone(), what });
        match option.as_str() {
            "skip_grub_config" => found.skip_grub_config = is_true(&written.text),
            "initrd_add_img" | "initrd_add_dir" => {
                tell(What::Initramfs { unit: unit.name.clone(), option: option.clone() });
            }
            _ if !option.starts_with("cmdline") => {}
            _ => match operation(&written.text) {
                Operation::Add(text) if strip(text).is_empty() => {}
                Operation::Add(text) => pieces.push(Piece { option, written, text: format!(" {text}") }),
                Operation::Delete(text) => {
                    for word in words(text) {
                        let mut gone = false;
                        pieces.iter_mut().for_each(|piece| gone |= delete(&mut piece.text, word));
                        let (text, origin) = (word.to_owned(), written.origin.clone());
                        if !gone {
                            tell(What::DeletesNothing { option: option.clone(), argument: text.clone() });
                        }
                        found.delete.push(Argument { text, option: option.clone(), left: Vec::new(), origin });
                    }
                }
            },
        }
    }
    pieces.retain(|piece| !strip(&piece.text).is_empty());
    let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let quoted = strip(&whole);
    let plain = unquote(quoted);
    // The whole is one text for tuned; its options show where each argument comes from.
    for (index, piece) in pieces.iter().enumerate() {
        let mut text = strip(&piece.text).to_owned();
        if plain.len() < quoted.len() {
            text = if index == 0 { text.split_off(1) } else { text };
            text.truncate(text.len() - usize::from(index + 1 == pieces.len()));
        }
        // Behind others it does not begin the text, which a function without an answer would notice.
        let setting = expander.setting(piece.written, &if index == 0 { text } else { format!(" {text}") })?;
        if has_stray_quotes(&setting.value) {
            let what = What::Quotes { option: piece.option.to_owned() };
            expander.findings.push(Finding { origin: piece.written.origin.clone(), what });
        }
        found.left_to_node |= !setting.left.is_empty();
        found.append.extend(split(&setting.value).map(|text| Argument {
            text: text.to_owned(),
            option: piece.option.to_owned(),
            left: setting.left.iter().filter(|function| text.contains(&format!("${{f:{function}"))).cloned().collect(),
            origin: piece.written.origin.clone(),
        }));
    }
    let (Some(Piece { written, .. }), Some(first)) = (pieces.first(), found.append.first().cloned()) else { return Ok(found) };
    // What is told of the whole is told of its options already.
    let told = expander.findings.len();
    found.line = expander.setting(written, plain)?.value;
    expander.findings.truncate(told);
    let all: Vec<&str> = split(&found.line).collect();
    if !all.iter().eq(found.append.iter().map(|argument| &argument.text)) {
        // A brace without its other one reaches from one option into the next.
        let find = |text: &str| found.append.iter().find(|argument| argument.text == text).unwrap_or(&first).clone();
        found.append = all.iter().map(|text| Argument { text: (*text).to_owned(), ..find(text) }).collect();
    }
    Ok(found)
}

enum Operation<'a> {
    Add(&'a str),
    Delete(&'a str),
}

fn operation(text: &str) -> Operation<'_> {
    match text.as_bytes() {
        [b'-', ..] => Operation::Delete(&text[1..]),
        [b'+', ..] | [b'\\', b'\\' | b'+' | b'-', ..] => Operation::Add(strip(&text[1..])),
        _ => Operation::Add(text),
    }
}

/// Takes every `word` out of `text`, and the space before it.
fn delete(text: &mut String, word: &str) -> bool {
    let mut from = 0;
    let before = text.len();
    while let Some(at) = text[from..].find(word).map(|at| from + at) {
        let end = at + word.len();
        let start = text[..at].chars().next_back().map_or(Some(at), |c| is_space(c).then(|| at - c.len_utf8()));
        match start.filter(|_| text[end..].chars().next().is_none_or(is_space)) {
            Some(start) => {
                text.replace_range(start..end, "");
                from = start;
            }
            None => from = at + word.chars().next().map_or(1, char::len_utf8),
        }
    }
    text.len() < before
}

fn is_true(text: &str) -> bool {
    ["Y", "YES", "T", "TRUE", "1"].contains(&strip(text).to_uppercase().as_str())
}

/// The arguments of a command line: spaces part them where they are not between quotes, or in a function that is left.
fn split(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut depth) = (false, 0_usize);
    let paired = line.matches('{').count() == line.matches('}').count();
    let parts = line.split(move |c| {
        match c {
            '"' => quoted = !quoted,
            '{' if paired => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_space(c) && !quoted && depth == 0
    });
    parts.filter(|part| !part.is_empty())
}

/// A quote at the beginning of an argument, or one without another.
fn has_stray_quotes(line: &str) -> bool {
    line.matches('"').count() % 2 == 1 || split(line).any(|part| part.starts_with('"'))
}

/// Arguments of which Linux takes the last only.
fn two_values(all: &[Argument]) -> Vec<Finding> {
    /// What may be there more than once.
    const MANY: [&str; 6] = ["console", "earlycon", "hugepages", "hugepagesz", "dyndbg", "pci"];
    let mut findings = Vec::new();
    for (index, argument) in all.iter().enumerate() {
        let Some((name, _)) = argument.text.split_once('=').filter(|(name, _)| !MANY.contains(name) && !name.contains("${"))
        else {
            continue;
        };
        let same = |other: &&Argument| other.text.split_once('=').is_some_and(|(own, _)| own == name);
        if let Some(other) = all[..index].iter().rev().find(same).filter(|other| other.text != argument.text) {
            let (argument_text, other_text, at) = (argument.text.clone(), other.text.clone(), other.origin.clone());
            let what = What::TwoValues { argument: argument_text, other: other_text, at };
            findings.push(Finding { origin: argument.origin.clone(), what });
        }
    }
    findings
}
