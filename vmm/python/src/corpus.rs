//! Corpora and test vectors as records.

use crate::to_python::to_python;
use crosswalk_case::lines::Lines;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

pyo3::create_exception!(
    crosswalk_mmu,
    CorpusError,
    PyValueError,
    "A file is neither a corpus nor a file of test vectors, or it is damaged."
);

/// The corpus that comes with crosswalk.
const BUNDLED: &[u8] = include_bytes!("../bundled.jsonl.zst");

/// The versions of a corpus and of test vectors that are known.
const FORMAT: u64 = 1;

/// Reads a corpus or a file of test vectors, record by record.
#[pyfunction]
#[pyo3(signature = (path = None))]
pub(crate) fn corpus(path: Option<PathBuf>) -> PyResult<Corpus> {
    let (name, file): (String, Box<dyn Read + Send + Sync>) = match path {
        None => ("the bundled corpus".to_owned(), Box::new(BUNDLED)),
        Some(path) => (path.display().to_string(), Box::new(File::open(&path)?)),
    };
    Ok(Corpus { name, lines: Lines::new(file)?, line: 0, machine: None, cases: 0, is_over: false })
}

/// An iterator over the records of a corpus.
#[pyclass(module = "crosswalk_mmu")]
pub(crate) struct Corpus {
    name: String,
    lines: Lines<Box<dyn Read + Send + Sync>>,
    /// Number of lines read so far.
    line: u64,
    /// The machine of the section that is being read.
    machine: Option<Value>,
    /// Number of cases of that section so far.
    cases: u64,
    is_over: bool,
}

#[pymethods]
impl Corpus {
    const fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.is_over {
            return Ok(None);
        }

        let read = py.detach(|| self.read());
        self.is_over = !matches!(read, Ok(Some(_)));
        match read {
            Ok(found) => found.map(|(line, machine)| record(py, &line, &machine)).transpose(),
            Err(ReadFailure::Host(error)) => {
                Err(PyOSError::new_err(format!("{}: {error}", self.name)))
            }
            Err(ReadFailure::Damaged(problem)) => {
                let (name, line) = (&self.name, self.line);
                Err(CorpusError::new_err(format!("{name}, line {line}: {problem}")))
            }
        }
    }
}

enum ReadFailure {
    Host(std::io::Error),
    Damaged(String),
}

impl Corpus {
    /// The next case and its machine; `None` at the end.
    fn read(&mut self) -> Result<Option<(Value, Value)>, ReadFailure> {
        loop {
            let bytes = self.lines.next().map_err(|error| match error.kind() {
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::Other => {
                    ReadFailure::Damaged(error.to_string())
                }
                _ => ReadFailure::Host(error),
            })?;
            self.line = self.line.saturating_add(1);
            if bytes.is_empty() {
                return self.end().map(|()| None).map_err(ReadFailure::Damaged);
            }

            if let Some(found) = self.take(&bytes).map_err(ReadFailure::Damaged)? {
                return Ok(Some(found));
            }
        }
    }

    /// A line: its case and machine, if it is the line of one.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<(Value, Value)>, String> {
        let line: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_whole = bytes.ends_with(b"\n");

        if let Some(version) = line.get("vector") {
            check_version(version)?;
            let machine = line.get("machine").cloned().ok_or("expected a machine")?;
            return Ok(Some((line, machine)));
        }
        let Some(machine) = &self.machine else {
            let version = line.get("corpus");
            check_version(version.ok_or("expected the first line of a corpus, or a test vector")?)?;
            self.machine = Some(line.get("machine").cloned().ok_or("expected a machine")?);
            self.cases = 0;
            return Ok(None);
        };
        if !is_whole {
            return Err("the file ends too early".to_owned());
        }
        if let Some(end) = line.get("end") {
            if end.as_u64() != Some(self.cases) {
                return Err(format!("expected {end} cases before this line, found {}", self.cases));
            }
            self.machine = None;
            return Ok(None);
        }

        self.cases = self.cases.saturating_add(1);
        Ok(Some((line, machine.clone())))
    }

    fn end(&self) -> Result<(), String> {
        match (&self.machine, self.line) {
            (Some(_), _) => Err("the file ends too early".to_owned()),
            (None, 1) => Err("expected a corpus, found nothing".to_owned()),
            (None, _) => Ok(()),
        }
    }
}

fn check_version(version: &Value) -> Result<(), String> {
    if version.as_u64() == Some(FORMAT) {
        Ok(())
    } else {
        Err(format!("expected version {FORMAT} of the format, found {version}"))
    }
}

/// A record: what one wants in columns, and the objects of the line.
fn record<'py>(py: Python<'py>, line: &Value, machine: &Value) -> PyResult<Bound<'py, PyDict>> {
    let record = PyDict::new(py);
    let set = |name: &str, value: Option<&Value>| {
        record.set_item(name, to_python(py, value.unwrap_or(&Value::Null))?)
    };
    let case = line.get("case");
    let access = case.and_then(|case| case.get("access"));
    let observed = line.get("observed").filter(|observed| observed.is_object());
    let fault = observed.and_then(|observed| observed.get("fault"));

    set("name", line.get("name"))?;
    set("mode", case.and_then(|case| case.get("mode")))?;
    for (name, field) in [
        ("machine", "kind"),
        ("flavour", "flavour"),
        ("beneath", "beneath"),
        ("emulator", "emulator"),
        ("cpu", "cpu"),
    ] {
        set(name, machine.get(field))?;
    }
    for (name, field) in [("access", "kind"), ("va", "address"), ("size", "size"), ("ring", "ring")]
    {
        set(name, access.and_then(|access| access.get(field)))?;
    }
    let before = case.and_then(|case| case.get("before")).and_then(Value::as_array);
    record.set_item("actions", before.map_or(0, Vec::len))?;

    set("provenance", observed.and_then(|observed| observed.get("provenance")))?;
    record.set_item("faulted", observed.map(|_| fault.is_some()))?;
    for field in ["vector", "error_code", "cr2"] {
        set(field, fault.and_then(|fault| fault.get(field)))?;
    }
    for field in ["verdict", "findings", "rules", "case", "allowed", "observed", "unsupported"] {
        set(field, line.get(field))?;
    }
    Ok(record)
}
