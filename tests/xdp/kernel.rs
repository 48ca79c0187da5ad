//! The program that the daemon embeds, run on single frames by
//! `BPF_PROG_TEST_RUN`: no interface, no network.

use aya::Ebpf;
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use vipd::io::xdp;
use vipd_common::responder::Counter;
use vipd_common::{ABI, Conflict, Counters, Group, Interface, Vip, VipKey, map};

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;

/// The program, verified, with maps of its own.
pub(crate) struct Kernel {
    ebpf: Ebpf,
}

/// What a run of the program did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) verdict: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) counter: Option<Counter>,
}

impl Kernel {
    pub(crate) fn new(interface_mac: [u8; 6]) -> Self {
        let mut ebpf = xdp::load().unwrap();
        let interface = Interface {
            mac: interface_mac,
            mode: 0,
            abi: ABI,
            ifindex: 1,
        };
        let map = ebpf.map_mut(map::INTERFACE).unwrap();
        Array::try_from(map).unwrap().set(0, interface, 0).unwrap();
        program(&mut ebpf).load().unwrap();
        Self { ebpf }
    }

    pub(crate) fn set_vip(&mut self, address: [u8; 4], group: u32) {
        let map = self.ebpf.map_mut(map::VIPS).unwrap();
        let key = VipKey {
            address,
            vlan: 0,
            pad: 0,
        };
        HashMap::try_from(map)
            .unwrap()
            .insert(key, Vip { group }, 0)
            .unwrap();
    }

    pub(crate) fn set_group(&mut self, group: u32, value: Group) {
        let map = self.ebpf.map_mut(map::GROUPS).unwrap();
        Array::try_from(map).unwrap().set(group, value, 0).unwrap();
    }

    pub(crate) fn conflict(&self, group: u32) -> Option<Conflict> {
        let map = self.ebpf.map(map::CONFLICTS).unwrap();
        HashMap::<_, u32, Conflict>::try_from(map)
            .unwrap()
            .get(&group, 0)
            .ok()
    }

    pub(crate) fn run(&mut self, frame: &[u8]) -> Run {
        let before = self.counters();
        let mut out = vec![0xee; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = program(&mut self.ebpf).test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        Run {
            verdict: result.return_value,
            frame: out,
            counter: self.counted_since(before),
        }
    }

    /// Whether the kernel runs the program on a frame of this length at all.
    pub(crate) fn takes(&mut self, frame: &[u8]) -> bool {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        program(&mut self.ebpf).test_run(options).is_ok()
    }

    fn counters(&self) -> Counters {
        let map = self.ebpf.map(map::COUNTERS).unwrap();
        let map = PerCpuArray::<_, Counters>::try_from(map).unwrap();
        map.get(&0, 0).unwrap().iter().copied().sum()
    }

    /// The one counter that went up by one; any other change fails.
    fn counted_since(&self, before: Counters) -> Option<Counter> {
        let after = self.counters();
        let counted = COUNTERS.into_iter().find(|counter| {
            let mut expected = before;
            *counter.of(&mut expected) += 1;
            expected == after
        });
        assert!(
            counted.is_some() || before == after,
            "from {before:?} to {after:?}"
        );
        counted
    }
}

fn program(ebpf: &mut Ebpf) -> &mut Xdp {
    ebpf.program_mut(xdp::PROGRAM).unwrap().try_into().unwrap()
}

/// Now, in nanoseconds of the clock that leases are measured by.
pub(crate) fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(crate) const COUNTERS: [Counter; 6] = [
    Counter::ArpAnswered,
    Counter::ArpSilenced,
    Counter::ArpPassed,
    Counter::ArpMalformed,
    Counter::ArpConflict,
    Counter::CarpPassed,
];
