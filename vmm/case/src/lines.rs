//! The lines of a corpus: text, in zstd frames or as it is. Memory use is bounded whatever a file holds: lines
//! have a maximum length, and frames a maximum window.
//!
//! ```
//! use crosswalk_case::lines::{FrameWriter, Lines};
//! use std::io::Write;
//!
//! let mut file = Vec::new();
//! let mut writer = FrameWriter::new(&mut file);
//! writer.write_all(b"one\ntwo\n")?;
//! writer.flush()?;
//!
//! let mut lines = Lines::new(file.as_slice())?;
//! assert_eq!(lines.next()?, b"one\n");
//! assert_eq!(lines.next()?, b"two\n");
//! assert!(lines.next()?.is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::encoding::{CompressionLevel, compress};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read, Write};
use std::iter;

/// Maximum length of a line in bytes: a case with a few hundred entries.
pub const MAX_LINE: u64 = 1 << 18;

/// Maximum window of a frame in bytes.
const MAX_WINDOW: u64 = 8 << 20;

/// The first bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Compresses text into one frame.
pub fn compressed(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    compress(text, &mut frame, CompressionLevel::Fastest);
    frame
}

/// Compresses what is written to it, in frames of a few MiB, and so holds no more than that.
pub struct FrameWriter<W: Write> {
    out: W,
    text: Vec<u8>,
}

/// Number of bytes of text in a frame of a [`FrameWriter`], give or take the last line.
const FRAME: usize = 4 << 20;

impl<W: Write> FrameWriter<W> {
    /// A writer that has written nothing. What it holds at last is written by [`Write::flush`].
    pub fn new(out: W) -> Self {
        Self { out, text: Vec::new() }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.out.write_all(&compressed(&self.text))?;
            self.text.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.text.len() >= FRAME {
            self.end_frame()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end_frame()?;
        self.out.flush()
    }
}

/// A file whose first bytes have been looked at.
type Peeked<R> = Chain<Cursor<Vec<u8>>, BufReader<R>>;

/// The lines of a file, which is a sequence of zstd frames or plain text.
pub struct Lines<R: Read> {
    text: BufReader<Text<R>>,
}

enum Text<R: Read> {
    Plain(Peeked<R>),
    Frames(ZstdFrames<R>),
}

impl<R: Read> Lines<R> {
    /// The lines of `file`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(file: R) -> io::Result<Self> {
        let mut file = BufReader::new(file);
        let mut start = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start)?;

        let is_zstd = start == MAGIC;
        let whole = Cursor::new(start).chain(file);
        let text = if is_zstd {
            Text::Frames(ZstdFrames { file: Some(whole), frame: None })
        } else {
            Text::Plain(whole)
        };

        Ok(Self { text: BufReader::new(text) })
    }

    /// The next line, including its line feed; empty at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read, a frame is damaged, or a line is longer than [`MAX_LINE`].
    #[expect(
        clippy::should_implement_trait,
        reason = "the end of a file is no end of an iterator: it can grow"
    )]
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.text.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)?;

        if line.len() as u64 > MAX_LINE {
            let problem = format!("expected lines of at most {MAX_LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }

        Ok(line)
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Frames(frames) => frames.read(buffer),
        }
    }
}

type Decoder<R> = StreamingDecoder<Peeked<R>, ruzstd::decoding::FrameDecoder>;

/// A sequence of frames, decoded in order.
struct ZstdFrames<R: Read> {
    /// The file, between two frames.
    file: Option<Peeked<R>>,
    /// The frame that is being decoded, which then has the file.
    frame: Option<Box<Decoder<R>>>,
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(buffer).map_err(not_decoded)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
                self.end_frame()?;
            }

            let Some(mut file) = self.file.take() else { return Ok(0) };
            if is_at_end(&mut file)? {
                return Ok(0);
            }

            let frame = StreamingDecoder::new_with_max_window_size(file, MAX_WINDOW);
            self.frame = Some(Box::new(frame.map_err(|error| not_decoded(invalid(error)))?));
        }
    }
}

impl<R: Read> ZstdFrames<R> {
    /// Checks the frame that was decoded, and takes the file back.
    fn end_frame(&mut self) -> io::Result<()> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        let (file, decoder) = frame.into_parts();

        let written = decoder.get_checksum_from_data();
        if written.is_some() && written != decoder.get_calculated_checksum() {
            return Err(invalid("the checksum of a zstd frame is wrong"));
        }

        self.file = Some(file);
        Ok(())
    }
}

/// What an error of decoding a frame says, without the words of the library.
fn not_decoded(error: io::Error) -> io::Error {
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    if inner.is_none() {
        // The file itself could not be read.
        return error;
    }
    let causes: Vec<_> = iter::successors(inner, |&cause| cause.source()).collect();

    let of_file = causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>());
    let too_big = causes.iter().find_map(|cause| match cause.downcast_ref() {
        Some(FrameDecoderError::WindowSizeTooBig { requested, .. }) => Some(*requested),
        _ => None,
    });

    // The library does not give every cause as a source.
    let is_end = error.to_string().contains("UnexpectedEof");
    match (of_file.map(io::Error::kind), too_big) {
        (_, Some(size)) => invalid(format!(
            "expected a zstd frame with a window of at most {MAX_WINDOW} bytes, found {size}"
        )),
        (Some(kind), _) if kind != io::ErrorKind::UnexpectedEof => {
            io::Error::new(kind, format!("cannot be read: {}", of_file.unwrap_or(&error)))
        }
        (of_file, _) if of_file.is_some() || is_end => {
            invalid("the file ends too early: it was cut off within its compressed text")
        }
        _ => invalid("the file is damaged: its compressed text (zstd) cannot be decoded"),
    }
}

fn is_at_end<R: Read>(file: &mut Peeked<R>) -> io::Result<bool> {
    Ok(file.fill_buf()?.is_empty())
}

fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_take_several_frames_and_read_back() {
        let line = "a line, neither long nor short\n".repeat(100).replace('\n', " ") + "\n";
        let count = 5 * FRAME / line.len() / 2;

        let mut file = Vec::new();
        let mut writer = FrameWriter::new(&mut file);
        for _ in 0..count {
            writer.write_all(line.as_bytes()).expect("memory takes every byte");
        }
        writer.flush().expect("memory takes every byte");
        let frames = file.windows(MAGIC.len()).filter(|bytes| *bytes == MAGIC).count();
        assert_eq!(frames, 3);

        let mut lines = Lines::new(file.as_slice()).expect("it is there");
        for _ in 0..count {
            assert_eq!(lines.next().expect("a line"), line.as_bytes());
        }
        assert!(lines.next().expect("the end").is_empty());
    }
}
