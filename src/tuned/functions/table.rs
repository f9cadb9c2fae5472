//! Which functions there are, how many arguments each takes, and what it answers.

use std::collections::BTreeSet;

use super::super::python::{int, strip};
use super::{cpulist, expression};

/// What a function says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What comes in its place.
    Text(String),
    /// It is an assertion and holds: its text stays.
    Holds,
    /// It is an assertion and does not hold: what it says, and why.
    Fails(String, String),
    /// It depends on the node, or cannot be evaluated here as Python would.
    Node,
    /// There is no such function.
    Unknown,
    /// Too few or too many arguments, or ones that it cannot use.
    Arguments,
}

type Function = fn(&[String]) -> Answer;

/// Name, fewest and most arguments, and the function.
type Row = (&'static str, usize, usize, Function);

const ANY: usize = usize::MAX;

/// The functions of tuned 2.25.
pub const TABLE: [Row; 25] = [
    ("assertion", 3, 3, |args| assertion(args, "differ", args[1] == args[2])),
    ("assertion_non_equal", 3, 3, |args| assertion(args, "are the same", args[1] != args[2])),
    ("calc_isolated_cores", 0, 1, |_| Answer::Node),
    ("check_net_queue_count", 1, 1, queue_count),
    ("cpuinfo_check", 2, ANY, |_| Answer::Node),
    ("cpulist2devs", 0, ANY, |args| list(cpulist::unpack(&args.join(",")), |list| cpulist::write(list, "cpu"))),
    ("cpulist2hex", 0, ANY, |args| list(cpulist::unpack(&args.join(",,")), cpulist::mask)),
    ("cpulist2hex_invert", 0, ANY, |_| Answer::Node),
    ("cpulist_invert", 0, ANY, |_| Answer::Node),
    ("cpulist_online", 0, ANY, |_| Answer::Node),
    ("cpulist_pack", 0, ANY, |args| list(cpulist::unpack(&args.join(",,")), cpulist::pack)),
    ("cpulist_present", 0, ANY, |_| Answer::Node),
    ("cpulist_unpack", 0, ANY, |args| list(cpulist::unpack(&args.join(",,")), |list| cpulist::write(list, ""))),
    ("exec", 1, ANY, |_| Answer::Node),
    ("hex2cpulist", 1, 1, |args| list(cpulist::from_mask(&args[0]), |list| cpulist::write(list, ""))),
    ("intel_recommended_pstate", 0, ANY, |_| Answer::Node),
    ("kb2s", 1, 1, |args| number(&args[0], |kilobytes| kilobytes.checked_mul(2))),
    ("log", 1, ANY, |args| Answer::Text(args.concat())),
    ("lscpu_check", 2, ANY, |_| Answer::Node),
    ("package2cpus", 0, ANY, |_| Answer::Node),
    ("package2uncores", 0, ANY, |_| Answer::Node),
    ("regex_search_ternary", 4, 4, ternary),
    ("s2kb", 1, 1, |args| number(&args[0], half)),
    ("strip", 1, ANY, |args| Answer::Text(strip(&args.concat()).to_owned())),
    ("virt_check", 2, 2, |_| Answer::Node),
];

/// What the function `name` says to `arguments`. `known`: the names of those that there are; none: those of [`TABLE`].
pub fn answer(name: &str, arguments: &[String], known: Option<&BTreeSet<String>>) -> Answer {
    let row = TABLE.iter().find(|(own, ..)| *own == name);
    match (row, known.map(|known| known.contains(name))) {
        (_, Some(false)) | (None, None) => Answer::Unknown,
        // One that somebody has added: what it does is not known here.
        (None, Some(true)) => Answer::Node,
        (Some((_, fewest, most, _)), _) if !(*fewest..=*most).contains(&arguments.len()) => Answer::Arguments,
        (Some((.., function)), _) => function(arguments),
    }
}

fn assertion(args: &[String], otherwise: &str, holds: bool) -> Answer {
    if holds { Answer::Holds } else { Answer::Fails(args[0].clone(), format!("{:?} and {:?} {otherwise}", args[1], args[2])) }
}

fn queue_count(args: &[String]) -> Answer {
    let is_number = !args[0].is_empty() && args[0].bytes().all(|byte| byte.is_ascii_digit());
    // Otherwise it counts the processors.
    if is_number { Answer::Text(args[0].clone()) } else { Answer::Node }
}

fn list(list: Result<BTreeSet<i64>, cpulist::TooMany>, write: impl Fn(&BTreeSet<i64>) -> String) -> Answer {
    list.map_or(Answer::Node, |list| Answer::Text(write(&list)))
}

fn number(text: &str, compute: impl Fn(i64) -> Option<i64>) -> Answer {
    int(text).and_then(compute).map_or(Answer::Arguments, |number| Answer::Text(number.to_string()))
}

/// Half of it; between two numbers, the even one.
fn half(number: i64) -> Option<i64> {
    let below = number.div_euclid(2);
    Some(if number.rem_euclid(2) == 1 && below.rem_euclid(2) == 1 { below + 1 } else { below })
}

fn ternary(args: &[String]) -> Answer {
    match expression::search(&args[1], &args[0]) {
        Some(found) => Answer::Text(args[if found { 2 } else { 3 }].clone()),
        None => Answer::Node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answers_as_tuned_does() {
        for (name, arguments, text) in [
            ("s2kb", vec!["5"], "2"),
            ("s2kb", vec!["7"], "4"),
            ("s2kb", vec!["-3"], "-2"),
            ("s2kb", vec!["-1"], "0"),
            ("kb2s", vec![" 4"], "8"),
            ("strip", vec![" a", "b "], "ab"),
            ("cpulist2devs", vec!["0-1", "3"], "cpu0,cpu1,cpu3"),
            ("cpulist_pack", vec!["0x3", "5,6"], "0-1,5-6"),
            ("cpulist_unpack", vec![], ""),
            ("hex2cpulist", vec!["0x8000"], "15"),
            ("check_net_queue_count", vec!["4"], "4"),
            ("regex_search_ternary", vec!["2-3", r"\s*[0-9]", "yes", "no"], "yes"),
        ] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert_eq!(answer(name, &arguments, None), Answer::Text(text.to_owned()), "{name}");
        }
    }

    #[test]
    fn names_are_sorted_and_others_are_the_node_s() {
        assert!(TABLE.is_sorted_by_key(|(name, ..)| *name));
        let known = BTreeSet::from(["own".to_owned()]);
        assert_eq!(answer("own", &[], Some(&known)), Answer::Node);
        assert_eq!(answer("own", &[], None), Answer::Unknown);
        assert_eq!(answer("cpulist_online", &[], None), Answer::Node);
    }
}
