import Testing

@testable import KafkaClient

@Suite("Whether a log is still the same one")
struct LogMarkTests {
    private func read(_ offsets: Range<Int64>, firstMs: Int64 = 1_000) -> LogMark {
        var mark = LogMark(start: offsets.lowerBound)
        for offset in offsets { mark.read(offset: offset, timestampMs: firstMs + offset) }
        return mark
    }

    @Test("a record or an end below what was read shows another log, at once")
    func below() {
        var mark = read(5..<9)
        mark.reachedEnd(9)
        #expect(!mark.isRewritten)
        mark.read(offset: 0, timestampMs: 5_000)
        #expect(mark.isRewritten)
        var ended = read(5..<9)
        ended.reachedEnd(3)
        #expect(ended.isRewritten)
    }

    @Test("an end below the position does, the second time in a row; one answer may be a mistake")
    func shorter() {
        var mark = read(0..<10)
        mark.compare(end: 4, firstYounger: nil, asked: mark)
        #expect(!mark.isRewritten)
        mark.compare(end: 10, firstYounger: nil, asked: mark)
        mark.compare(end: 4, firstYounger: nil, asked: mark)
        #expect(!mark.isRewritten)
        mark.compare(end: 5, firstYounger: nil, asked: mark)
        #expect(mark.isRewritten)
    }

    @Test("a log made anew that has outgrown the position shows itself by its first young record")
    func outgrown() {
        var mark = read(100..<110)
        mark.compare(end: 110, firstYounger: nil, asked: mark)
        // Read on from offset 110 all would look well: the end has grown. But what is younger than all that was read
        // begins at 0.
        for _ in 0..<2 { mark.compare(end: 400, firstYounger: 0, asked: mark) }
        #expect(mark.isRewritten)
    }

    @Test("retention, other writers' clocks, reading on, and going back to the last commit show nothing")
    func same() {
        var mark = read(100..<110)
        mark.compare(end: 115, firstYounger: 112, asked: mark)
        mark.compare(end: 120, firstYounger: 112, asked: mark)
        for offset in Int64(110)..<120 { mark.read(offset: offset, timestampMs: 1_000) }
        mark.compare(end: 130, firstYounger: 125, asked: mark)
        mark.move(to: 105)
        mark.read(offset: 105, timestampMs: 1_105)
        mark.compare(end: 130, firstYounger: 126, asked: mark)
        mark.compare(end: 130, firstYounger: nil, asked: mark)
        #expect(!mark.isRewritten)
    }

    @Test("an answer is compared with what was read when it was asked for")
    func late() {
        var mark = read(0..<10)
        let asked = mark
        for offset in Int64(10)..<20 { mark.read(offset: offset, timestampMs: 2_000) }
        for _ in 0..<2 { mark.compare(end: 10, firstYounger: nil, asked: asked) }
        #expect(!mark.isRewritten)
    }
}
