//! What the configuration asks for, before anybody looks at a file: Wasm, native, or "see what it is".
//!
//! Pure: annotations in, a [`Choice`] out. The annotations are those of crun, which Docker, podman and
//! Kubernetes users already set; see crun(1), "run.oci.handler" and "module.wasm.image/variant".

/// Chooses the handler by name.
pub const HANDLER: &str = "run.oci.handler";
/// Set by image builders on images that hold a Wasm module.
pub const VARIANT: &str = "module.wasm.image/variant";

/// Where container managers say that a container is the pause container of a pod: containerd's CRI plugin and
/// cri-dockerd's predecessors use the first, CRI-O the second. A pod's annotations reach this container too, but it is
/// never what they are about.
const SANDBOX_MARKS: [&str; 2] = [
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri-o.ContainerType",
];

/// A Wasm engine that Tandem has a handler for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    Wasmtime,
    WasmEdge,
}

impl Engine {
    /// The name that annotations, cache folders and messages use.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Wasmtime => "wasmtime",
            Engine::WasmEdge => "wasmedge",
        }
    }
}

/// What the container's configuration says about its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A Linux program, whatever its first bytes look like.
    Native,
    /// A Wasm module, or an error; `None` leaves the engine to the host's configuration.
    Wasm { engine: Option<Engine> },
    /// Nothing is said, or "smart": the entrypoint's first bytes decide.
    Guess,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error(
        "annotation \"run.oci.handler\" names the unknown handler {name:?}, it may be wasm, wasm-smart, wasmtime, wasmedge or native"
    )]
    UnknownHandler { name: String },
    #[error(
        "annotation \"module.wasm.image/variant\" has the unknown value {value:?}, it may be compat or compat-smart"
    )]
    UnknownVariant { value: String },
}

/// Reads the choice from a container's annotations, `find` looks one up by name.
///
/// The handler wins over the image's variant: the first is set by whoever starts the container, the
/// second comes along with an image.
pub fn from_annotations<'a>(find: impl Fn(&str) -> Option<&'a str>) -> Result<Choice, ChoiceError> {
    let sandbox = |mark: &&str| find(mark) == Some("sandbox");
    if SANDBOX_MARKS.iter().any(sandbox) {
        return Ok(Choice::Native);
    }
    match (find(HANDLER), find(VARIANT)) {
        (Some(handler), _) => from_handler(handler),
        (None, Some(variant)) => from_variant(variant),
        (None, None) => Ok(Choice::Guess),
    }
}

fn from_handler(name: &str) -> Result<Choice, ChoiceError> {
    let wasm = |engine| Ok(Choice::Wasm { engine });
    match name {
        "native" | "none" => Ok(Choice::Native),
        "wasm" => wasm(None),
        "wasm-smart" => Ok(Choice::Guess),
        "wasmtime" => wasm(Some(Engine::Wasmtime)),
        "wasmedge" => wasm(Some(Engine::WasmEdge)),
        _ => Err(ChoiceError::UnknownHandler { name: name.into() }),
    }
}

fn from_variant(value: &str) -> Result<Choice, ChoiceError> {
    match value {
        "compat" => Ok(Choice::Wasm { engine: None }),
        // "Smart" is for pods: the same annotation lies on the module and on its Linux side-cars.
        "compat-smart" => Ok(Choice::Guess),
        _ => Err(ChoiceError::UnknownVariant {
            value: value.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(annotations: &[(&str, &str)]) -> Result<Choice, ChoiceError> {
        from_annotations(|name| {
            let found = annotations.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        })
    }

    const ANY_WASM: Choice = Choice::Wasm { engine: None };

    #[test]
    fn without_annotations_the_file_decides() {
        assert_eq!(choose(&[]), Ok(Choice::Guess));
        assert_eq!(choose(&[("org.example", "wasm")]), Ok(Choice::Guess));
    }

    #[test]
    fn a_handler_names_the_kind_and_the_engine() {
        let wasmedge = Choice::Wasm {
            engine: Some(Engine::WasmEdge),
        };
        let wasmtime = Choice::Wasm {
            engine: Some(Engine::Wasmtime),
        };
        assert_eq!(choose(&[(HANDLER, "wasm")]), Ok(ANY_WASM));
        assert_eq!(choose(&[(HANDLER, "wasmedge")]), Ok(wasmedge));
        assert_eq!(choose(&[(HANDLER, "wasmtime")]), Ok(wasmtime));
        assert_eq!(choose(&[(HANDLER, "native")]), Ok(Choice::Native));
        assert_eq!(choose(&[(HANDLER, "none")]), Ok(Choice::Native));
    }

    #[test]
    fn a_compat_image_is_wasm_and_a_smart_one_may_be() {
        assert_eq!(choose(&[(VARIANT, "compat")]), Ok(ANY_WASM));
        assert_eq!(choose(&[(VARIANT, "compat-smart")]), Ok(Choice::Guess));
        assert_eq!(choose(&[(HANDLER, "wasm-smart")]), Ok(Choice::Guess));
    }

    #[test]
    fn the_handler_wins_over_the_variant() {
        let both = [(VARIANT, "compat"), (HANDLER, "native")];
        assert_eq!(choose(&both), Ok(Choice::Native));
    }

    #[test]
    fn the_pause_container_of_a_wasm_pod_stays_native() {
        for mark in SANDBOX_MARKS {
            let pod = [(mark, "sandbox"), (HANDLER, "wasm"), (VARIANT, "compat")];
            assert_eq!(choose(&pod), Ok(Choice::Native));
            let workload = [(mark, "container"), (HANDLER, "wasm")];
            assert_eq!(choose(&workload), Ok(ANY_WASM));
        }
    }

    #[test]
    fn unknown_values_are_refused_by_name() {
        let handler = choose(&[(HANDLER, "krun")]).unwrap_err().to_string();
        assert!(handler.contains("\"krun\""), "{handler}");
        let variant = choose(&[(VARIANT, "compact")]).unwrap_err().to_string();
        assert!(variant.contains("\"compact\""), "{variant}");
    }
}
