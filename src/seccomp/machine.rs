//! For tests: runs a program as the kernel does, and refuses what the kernel's checker refuses.

use crate::sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// `struct seccomp_data` of linux/seccomp.h; the instruction pointer is left out, as no profile can ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) arguments: [u64; 6],
    pub(super) big_endian: bool,
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let second = offset % 8 == 4;
                (if second == self.big_endian {
                    argument
                } else {
                    argument >> 32
                }) as u32
            }
            _ => panic!("load from offset {offset} of seccomp_data"),
        }
    }
}

/// seccomp_check_filter and bpf_check_classic of the kernel, for the instructions that are used here.
pub(super) fn check(program: &[Instruction]) {
    assert!(
        (1..=MAX_INSTRUCTIONS).contains(&program.len()),
        "{} instructions",
        program.len()
    );
    for (at, i) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match i.code {
            0x20 => assert!(i.k < 64 && i.k.is_multiple_of(4), "load at {at}"),
            0x05 => assert!((i.k as usize) < left, "jump at {at} leaves the program"),
            0x15 | 0x25 | 0x35 | 0x45 => {
                assert!(
                    usize::from(i.jt.max(i.jf)) < left,
                    "branch at {at} leaves the program"
                );
            }
            0x54 | 0x06 => {}
            other => panic!("instruction {other:#x} at {at}"),
        }
    }
    let last = program.last().map(|i| i.code);
    assert_eq!(last, Some(0x06), "the program does not end in a return");
}

pub(super) fn run(program: &[Instruction], call: &Call) -> u32 {
    steps(program, call).0
}

/// What the program answers, and after how many instructions.
pub(super) fn steps(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut a, mut steps) = (0, 0, 0);
    loop {
        let i = program[at];
        let skip = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        steps += 1;
        at += 1;
        match i.code {
            0x20 => a = call.word(i.k),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += skip(a == i.k),
            0x25 => at += skip(a > i.k),
            0x35 => at += skip(a >= i.k),
            0x45 => at += skip(a & i.k != 0),
            0x06 => return (i.k, steps),
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}
