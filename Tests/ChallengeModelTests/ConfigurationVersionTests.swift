import ChallengeModel
import Testing

@Suite("Versions of the configuration")
struct ConfigurationVersionTests {
    private func admits(
        _ versions: inout ConfigurationVersions, _ sid: String, _ version: Int64, deleted: Bool = false,
        partition: Int32 = 0
    ) -> Bool {
        versions.admit(sid: sid, version: version, isDeletion: deleted, partition: partition)
    }

    @Test("an old record written again brings back neither a deleted credential nor an old secret")
    func replays() {
        var versions = ConfigurationVersions()
        #expect(admits(&versions, "CR1", 1) && admits(&versions, "CR1", 1), "published again as it is")
        #expect(admits(&versions, "CR1", 2))
        #expect(!admits(&versions, "CR1", 1))
        #expect(admits(&versions, "CR1", 3, deleted: true))
        for version: Int64 in [0, 1, 2, 3, 4, .max] { #expect(!admits(&versions, "CR1", version), "gone is gone") }
        #expect(admits(&versions, "CR1", 3, deleted: true), "the mark is published again")
        #expect(!admits(&versions, "CR2", -1) && !admits(&versions, "CR2", -1, deleted: true))
    }

    @Test(
        "records of before there were versions count until one with a version stands in front of them in their partition"
    )
    func unversioned() {
        var versions = ConfigurationVersions()
        #expect(admits(&versions, "CR1", 0) && admits(&versions, "CR2", 0))
        #expect(admits(&versions, "CR1", 1))
        #expect(!admits(&versions, "CR1", 0) && !admits(&versions, "CR2", 0) && !admits(&versions, "CR9", 0))
        #expect(admits(&versions, "CR3", 0, partition: 1), "another partition has its own order")
        // An empty value has no version; the SID is gone all the same.
        #expect(admits(&versions, "CR3", 0, deleted: true, partition: 1))
        #expect(!admits(&versions, "CR3", 0, partition: 1) && !admits(&versions, "CR3", 1, partition: 1))
    }
}
