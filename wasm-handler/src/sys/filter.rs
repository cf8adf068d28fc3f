//! A seccomp filter from a list: these calls, some only with certain arguments; every other one fails with EPERM.
//!
//! Small on purpose: the programs here need one list each, known when they are built, and libseccomp is a
//! library of 100 KB to compile it. Failing instead of killing, because a newer libc that tries a newer call first has to
//! see that it is not there.

use std::io;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, c_long, sock_filter, sock_fprog,
};

/// Offsets in struct seccomp_data, seccomp(2).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

/// One line of the list.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    Allow(c_long),
    /// Only if the lower half of argument `index`, masked by `mask`, is `value`.
    AllowIf {
        call: c_long,
        index: u32,
        mask: u32,
        value: u32,
    },
    /// Fails with this error instead of EPERM, for callers that fall back on it.
    Fail(c_long, i32),
}

/// The filter's program: the architecture, then the rules in order, then EPERM.
///
/// A system call of another architecture has other numbers; x86-64's own x32 calls have numbers that no rule has.
pub fn program(rules: &[Rule]) -> Vec<sock_filter> {
    let mut code = vec![
        load(ARCHITECTURE),
        jump_if_equal(THIS_ARCHITECTURE, 1, 0),
        answer(SECCOMP_RET_ERRNO | libc::EPERM as u32),
        load(NUMBER),
    ];
    for rule in rules {
        match *rule {
            Rule::Allow(call) => {
                code.extend([jump_if_equal(call as u32, 0, 1), answer(SECCOMP_RET_ALLOW)])
            }
            Rule::Fail(call, errno) => code.extend([
                jump_if_equal(call as u32, 0, 1),
                answer(SECCOMP_RET_ERRNO | errno as u32),
            ]),
            Rule::AllowIf {
                call,
                index,
                mask,
                value,
            } => code.extend([
                jump_if_equal(call as u32, 0, 5),
                load(ARGUMENTS + 8 * index),
                statement(BPF_ALU | BPF_AND | BPF_K, mask),
                jump_if_equal(value, 0, 1),
                answer(SECCOMP_RET_ALLOW),
                // The number was overwritten; another rule for the same call may still match.
                load(NUMBER),
            ]),
        }
    }
    code.push(answer(SECCOMP_RET_ERRNO | libc::EPERM as u32));
    code
}

/// Puts the filter on this thread and on those that it starts. Needs no_new_privs or CAP_SYS_ADMIN.
pub fn install(rules: &[Rule]) -> io::Result<()> {
    let mut code = program(rules);
    let program = sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program and the code that it points to live until the call returns; the kernel copies them.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn jump_if_equal(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = SECCOMP_RET_ALLOW;
    const EPERM: u32 = SECCOMP_RET_ERRNO | libc::EPERM as u32;

    /// What the kernel would answer, for the instructions that `program` uses.
    fn walk(code: &[sock_filter], architecture: u32, call: c_long, arguments: [u32; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => call as u32,
            ARCHITECTURE => architecture,
            _ => arguments[(offset - ARGUMENTS) as usize / 8],
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let step = code[at];
            at += 1;
            match u32::from(step.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => a = word(step.k),
                c if c == BPF_ALU | BPF_AND | BPF_K => a &= step.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == step.k { step.jt } else { step.jf });
                }
                _ => return step.k,
            }
        }
    }

    #[test]
    fn rules_allow_what_they_say_and_nothing_else() {
        let code = program(&[
            Rule::Allow(10),
            Rule::AllowIf {
                call: 20,
                index: 2,
                mask: 4,
                value: 0,
            },
            Rule::AllowIf {
                call: 20,
                index: 2,
                mask: !0,
                value: 7,
            },
            Rule::Fail(30, libc::ENOSYS),
            Rule::Allow(40),
        ]);
        let ask = |call, third| walk(&code, THIS_ARCHITECTURE, call, [0, 0, third, 0, 0, 0]);
        assert_eq!(ask(10, 4), ALLOW);
        assert_eq!(ask(11, 0), EPERM);
        assert_eq!(ask(20, 3), ALLOW);
        assert_eq!(ask(20, 4), EPERM);
        assert_eq!(ask(20, 7), ALLOW);
        assert_eq!(ask(30, 0), SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        assert_eq!(ask(40, 0), ALLOW);
        assert_eq!(walk(&code, 0x4000_0003, 10, [0; 6]), EPERM);
    }
}
