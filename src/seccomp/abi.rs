//! The system call interfaces that a profile can name, and how the kernel tells them apart.
#![forbid(unsafe_code)]

use oci_spec::runtime::Arch;

/// One system call interface: what seccomp_data holds when a program uses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) name: &'static str,
    /// `seccomp_data.arch`, an AUDIT_ARCH_* value of linux/audit.h. x32 and x86_64 share theirs.
    pub(super) audit: u32,
    /// Where the interface's numbers start in `seccomp_data.nr`.
    pub(super) first: u32,
    /// Its column in the table of numbers.
    pub(super) column: usize,
    /// Whether arguments are compared with all 64 bits. libseccomp counts x32 as narrow, and so do we.
    pub(super) wide: bool,
    pub(super) big_endian: bool,
    /// Whether socketcall(2) and ipc(2) carry the socket and System V calls of some programs.
    pub(super) multiplexes: bool,
    /// Numbers that do not fit the entry path arrive as 0 here when the kernel does not know them.
    pub(super) unknown_is_zero: bool,
}

/// The bit in the number that tells x32 from x86_64, `__X32_SYSCALL_BIT` of asm/unistd.h.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const PLAIN: Abi = Abi {
    name: "",
    audit: 0,
    first: 0,
    column: 0,
    wide: true,
    big_endian: false,
    multiplexes: false,
    unknown_is_zero: false,
};

pub(super) static X86_64: Abi = Abi {
    name: "SCMP_ARCH_X86_64",
    audit: 0xc000_003e,
    column: 0,
    ..PLAIN
};
pub(super) static X86: Abi = Abi {
    name: "SCMP_ARCH_X86",
    audit: 0x4000_0003,
    column: 1,
    wide: false,
    multiplexes: true,
    ..PLAIN
};
pub(super) static X32: Abi = Abi {
    name: "SCMP_ARCH_X32",
    audit: 0xc000_003e,
    first: X32_BIT,
    column: 2,
    wide: false,
    ..PLAIN
};
pub(super) static AARCH64: Abi = Abi {
    name: "SCMP_ARCH_AARCH64",
    audit: 0xc000_00b7,
    column: 3,
    ..PLAIN
};
pub(super) static ARM: Abi = Abi {
    name: "SCMP_ARCH_ARM",
    audit: 0x4000_0028,
    column: 4,
    wide: false,
    ..PLAIN
};
pub(super) static RISCV64: Abi = Abi {
    name: "SCMP_ARCH_RISCV64",
    audit: 0xc000_00f3,
    column: 5,
    ..PLAIN
};
pub(super) static LOONGARCH64: Abi = Abi {
    name: "SCMP_ARCH_LOONGARCH64",
    audit: 0xc000_0102,
    column: 6,
    ..PLAIN
};
pub(super) static MIPS: Abi = Abi {
    name: "SCMP_ARCH_MIPS",
    audit: 0x0000_0008,
    column: 7,
    wide: false,
    big_endian: true,
    multiplexes: true,
    ..PLAIN
};
pub(super) static MIPSEL: Abi = Abi {
    name: "SCMP_ARCH_MIPSEL",
    audit: 0x4000_0008,
    big_endian: false,
    ..MIPS
};
pub(super) static MIPS64: Abi = Abi {
    name: "SCMP_ARCH_MIPS64",
    audit: 0x8000_0008,
    column: 8,
    big_endian: true,
    ..PLAIN
};
pub(super) static MIPSEL64: Abi = Abi {
    name: "SCMP_ARCH_MIPSEL64",
    audit: 0xc000_0008,
    column: 8,
    ..PLAIN
};
pub(super) static MIPS64N32: Abi = Abi {
    name: "SCMP_ARCH_MIPS64N32",
    audit: 0xa000_0008,
    column: 9,
    wide: false,
    big_endian: true,
    ..PLAIN
};
pub(super) static MIPSEL64N32: Abi = Abi {
    name: "SCMP_ARCH_MIPSEL64N32",
    audit: 0xe000_0008,
    column: 9,
    wide: false,
    ..PLAIN
};
pub(super) static PPC: Abi = Abi {
    name: "SCMP_ARCH_PPC",
    audit: 0x0000_0014,
    column: 10,
    wide: false,
    big_endian: true,
    multiplexes: true,
    ..PLAIN
};
pub(super) static PPC64: Abi = Abi {
    name: "SCMP_ARCH_PPC64",
    audit: 0x8000_0015,
    column: 11,
    big_endian: true,
    multiplexes: true,
    ..PLAIN
};
pub(super) static PPC64LE: Abi = Abi {
    name: "SCMP_ARCH_PPC64LE",
    audit: 0xc000_0015,
    big_endian: false,
    ..PPC64
};
pub(super) static S390: Abi = Abi {
    name: "SCMP_ARCH_S390",
    audit: 0x0000_0016,
    column: 12,
    wide: false,
    big_endian: true,
    multiplexes: true,
    unknown_is_zero: true,
    ..PLAIN
};
pub(super) static S390X: Abi = Abi {
    name: "SCMP_ARCH_S390X",
    audit: 0x8000_0016,
    column: 13,
    wide: true,
    ..S390
};

/// The interfaces known here, the set that runc knows, in the order in which `features` lists them.
pub(super) static ALL: [&Abi; 18] = [
    &AARCH64,
    &ARM,
    &LOONGARCH64,
    &MIPS,
    &MIPS64,
    &MIPS64N32,
    &MIPSEL,
    &MIPSEL64,
    &MIPSEL64N32,
    &PPC,
    &PPC64,
    &PPC64LE,
    &RISCV64,
    &S390,
    &S390X,
    &X32,
    &X86,
    &X86_64,
];

/// The interface of this program itself.
pub(super) fn native() -> Option<&'static Abi> {
    let little = cfg!(target_endian = "little");
    match std::env::consts::ARCH {
        "x86_64" => Some(&X86_64),
        "x86" => Some(&X86),
        "aarch64" => Some(&AARCH64),
        "arm" => Some(&ARM),
        "riscv64" => Some(&RISCV64),
        "loongarch64" => Some(&LOONGARCH64),
        "mips" => Some(if little { &MIPSEL } else { &MIPS }),
        "mips64" => Some(if little { &MIPSEL64 } else { &MIPS64 }),
        "powerpc" => Some(&PPC),
        "powerpc64" => Some(if little { &PPC64LE } else { &PPC64 }),
        "s390x" => Some(&S390X),
        _ => None,
    }
}

/// `None` for what Linux container images exist for no more (parisc, m68k, sh): runc knows none of them.
pub(super) fn of(arch: Arch) -> Option<&'static Abi> {
    match arch {
        Arch::ScmpArchNative => native(),
        Arch::ScmpArchX86 => Some(&X86),
        Arch::ScmpArchX86_64 => Some(&X86_64),
        Arch::ScmpArchX32 => Some(&X32),
        Arch::ScmpArchArm => Some(&ARM),
        Arch::ScmpArchAarch64 => Some(&AARCH64),
        Arch::ScmpArchLoongarch64 => Some(&LOONGARCH64),
        Arch::ScmpArchMips => Some(&MIPS),
        Arch::ScmpArchMips64 => Some(&MIPS64),
        Arch::ScmpArchMips64n32 => Some(&MIPS64N32),
        Arch::ScmpArchMipsel => Some(&MIPSEL),
        Arch::ScmpArchMipsel64 => Some(&MIPSEL64),
        Arch::ScmpArchMipsel64n32 => Some(&MIPSEL64N32),
        Arch::ScmpArchPpc => Some(&PPC),
        Arch::ScmpArchPpc64 => Some(&PPC64),
        Arch::ScmpArchPpc64le => Some(&PPC64LE),
        Arch::ScmpArchRiscv64 => Some(&RISCV64),
        Arch::ScmpArchS390 => Some(&S390),
        Arch::ScmpArchS390x => Some(&S390X),
        Arch::ScmpArchM68k
        | Arch::ScmpArchParisc
        | Arch::ScmpArchParisc64
        | Arch::ScmpArchSh
        | Arch::ScmpArchSheb => None,
    }
}
