//! The program against the same rules in plain Rust: on right frames, on all
//! that is one step away from them, and on random ones. `VIPD_XDP_FRAMES` says
//! how many in all.

use std::collections::BTreeMap;

use vipd_common::arp::LEN;
use vipd_common::responder::{Counter, Verdict, respond};
use vipd_common::{ABI, Group, Interface};

use crate::kernel::{COUNTERS, Kernel, Run, XDP_DROP, XDP_PASS, XDP_TX};
use crate::mutants::{ADDRESSES, OWNER, Random, SHORTEST, US, bases, neighbours};

#[test]
fn the_program_does_what_the_model_says() {
    let frames = std::env::var("VIPD_XDP_FRAMES").map_or(FRAMES, |text| {
        let frames = text.parse();
        frames.unwrap_or_else(|error| panic!("VIPD_XDP_FRAMES is {text}: {error}"))
    });
    let (mut kernel, model, bases) = (kernel(), Model::new(), bases());
    let longest = longest(&mut kernel);

    let mut seen = BTreeMap::new();
    let mut compare = |what: &dyn Fn() -> String, frame: &[u8]| {
        let run = kernel.run(frame);
        let expected = model.run(frame);
        assert_eq!(run, expected, "{}: {frame:02x?}", what());
        assert_harmless(frame, &run);
        *seen.entry(expected.counter).or_insert(0_u64) += 1;
    };
    let mut systematic = 0_u64;
    for (index, base) in bases.iter().enumerate() {
        for frame in neighbours(base, longest) {
            compare(&|| format!("next to frame {index}"), &frame);
            systematic += 1;
        }
    }
    let random = frames.saturating_sub(systematic);
    for seed in 0..random {
        let frame = Random(seed).frame(&bases, longest);
        compare(&|| format!("seed {seed}"), &frame);
    }

    println!("{systematic} systematic and {random} random frames up to {longest} bytes: {seen:?}");
    // Frames that never get anywhere prove nothing.
    for counter in COUNTERS.map(Some).into_iter().chain([None]) {
        let times = seen.get(&counter).copied().unwrap_or(0);
        assert!(
            times > 1000,
            "{counter:?} occurred {times} times only: {seen:?}"
        );
    }
}

/// What must hold whatever the model says: nothing but an answer differs from the
/// frame that came in, and nothing but an ARP request becomes one.
fn assert_harmless(frame: &[u8], run: &Run) {
    if run.verdict == XDP_TX {
        assert_eq!(
            frame[12..22],
            [8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            "{frame:02x?}"
        );
        assert_eq!(run.frame[LEN..], frame[LEN..], "{frame:02x?}");
        assert_eq!(run.frame[..6], frame[22..28], "to who asked: {frame:02x?}");
        assert_eq!(run.frame[6..12], US, "by us: {frame:02x?}");
    } else {
        assert_eq!(run.frame, frame);
    }
}

/// A model that is wrong in a small thing is told from the program, or the
/// comparison proves nothing.
#[test]
fn a_model_that_is_blind_to_a_byte_is_caught() {
    let (mut kernel, model, bases) = (kernel(), Model::new(), bases());
    let frames: Vec<_> = bases
        .iter()
        .filter(|base| base.len() == LEN && base[38..] == ADDRESSES[0])
        .flat_map(|base| neighbours(base, LEN))
        .collect();
    let runs: Vec<_> = frames.iter().map(|frame| kernel.run(frame)).collect();
    let same =
        |run: &Run, other: &Run| (run.verdict, run.counter) == (other.verdict, other.counter);
    // All that the rules look at. Nobody looks at the Ethernet source, nor at the
    // target's hardware address.
    let looked_at = (0..6).chain(12..32).chain(38..LEN);
    let right = bases[0].clone();
    for at in looked_at {
        let blind = |frame: &[u8]| {
            let mut frame = frame.to_vec();
            if let Some(byte) = frame.get_mut(at) {
                *byte = right[at];
            }
            model.run(&frame)
        };
        let caught = frames
            .iter()
            .zip(&runs)
            .any(|(frame, run)| !same(run, &blind(frame)));
        assert!(caught, "byte {at}");
    }
}

#[test]
fn a_model_that_is_wrong_about_a_lease_is_caught() {
    let mut kernel = kernel();
    for (what, wrong) in [
        (
            "a lease too many",
            Model::with_lease(ADDRESSES[3], u64::MAX),
        ),
        ("a lease too few", Model::with_lease(ADDRESSES[0], 0)),
        ("the end of a lease", Model::with_lease(ADDRESSES[3], 2)),
    ] {
        let caught = bases()
            .iter()
            .any(|frame| kernel.run(frame) != wrong.run(frame));
        assert!(caught, "{what}");
    }
}

/// The rules in plain Rust, with the maps that the kernel has.
struct Model {
    vips: Vips,
    interface: Interface,
}

/// Address to group, and what the group's entry is.
type Vips = BTreeMap<[u8; 4], (u32, Option<Group>)>;

impl Model {
    fn new() -> Self {
        Self {
            vips: vips(),
            interface: Interface {
                mac: US,
                mode: 0,
                abi: ABI,
                ifindex: 1,
            },
        }
    }

    /// With another lease than the kernel has it.
    fn with_lease(address: [u8; 4], lease_until_ns: u64) -> Self {
        let mut model = Self::new();
        let Some((_, Some(group))) = model.vips.get_mut(&address) else {
            panic!("{address:?} has a group");
        };
        group.lease_until_ns = lease_until_ns;
        model
    }

    fn run(&self, frame: &[u8]) -> Run {
        let group_of = |address| self.vips.get(&address).map(|&(_, group)| group);
        // Leases end at once or never, so that one time is as good as another.
        let (verdict, counter): (_, Option<Counter>) = respond(frame, &self.interface, group_of, 1);
        let (verdict, frame) = match verdict {
            Verdict::Pass => (XDP_PASS, frame.to_vec()),
            Verdict::Drop => (XDP_DROP, frame.to_vec()),
            Verdict::Tx(reply) => (XDP_TX, [&reply.to_bytes(), &frame[LEN..]].concat()),
        };
        Run {
            verdict,
            frame,
            counter,
        }
    }
}

fn kernel() -> Kernel {
    let mut kernel = Kernel::new(US);
    for (address, (id, group)) in vips() {
        kernel.set_vip(address, id);
        if let Some(group) = group {
            kernel.set_group(id, group);
        }
    }
    kernel
}

/// The longest frame that this kernel runs the program on, which is about a page.
fn longest(kernel: &mut Kernel) -> usize {
    let (mut runs, mut refused) = (SHORTEST, JUMBO + 1);
    while refused - runs > 1 {
        let middle = runs.midpoint(refused);
        if kernel.takes(&vec![0; middle]) {
            runs = middle;
        } else {
            refused = middle;
        }
    }
    assert!(runs > 1514, "only {runs} bytes");
    runs
}

fn vips() -> Vips {
    let group = |lease_until_ns, owner_mac| Group {
        lease_until_ns,
        owner_mac,
        vhid: 1,
        pad: 0,
    };
    BTreeMap::from([
        (ADDRESSES[0], (1, Some(group(u64::MAX, OWNER)))),
        (ADDRESSES[1], (1, Some(group(u64::MAX, OWNER)))),
        (ADDRESSES[2], (2, Some(group(u64::MAX, US)))),
        (ADDRESSES[3], (3, Some(group(1, OWNER)))),
        (ADDRESSES[4], (4, Some(group(0, OWNER)))),
        (ADDRESSES[5], (5, None)),
    ])
}

/// Frames in all, unless the environment says otherwise.
const FRAMES: u64 = 1_000_000;

/// What network cards call a jumbo frame.
const JUMBO: usize = 9018;
