import CRdKafka
import Foundation

/// A consumer group as its coordinator describes it.
public struct KafkaGroupFacts: Sendable, Hashable {
    public var id: String
    public var error: String?
    /// `Stable`, `Empty`, `Dead`, …
    public var state: String
    /// `range`; empty without members.
    public var assignor: String
    public var members: [Member]

    public struct Member: Sendable, Hashable, CustomStringConvertible {
        /// Its `client.id`.
        public var clientID: String
        /// From where it is connected, as the coordinator sees it.
        public var host: String

        public init(clientID: String, host: String) {
            self.clientID = clientID
            self.host = host
        }

        public var description: String { "\(clientID) at \(host)" }
    }

    public init(id: String, error: String? = nil, state: String, assignor: String, members: [Member]) {
        self.id = id
        self.error = error
        self.state = state
        self.assignor = assignor
        self.members = members
    }
}

extension KafkaInspection {
    /// - Throws: ``KafkaError`` as of ``settings(of:patience:)``.
    public func groups(_ ids: [String], patience: Duration) async throws(KafkaError) -> [KafkaGroupFacts] {
        try await ask(patience: patience) { handle, left in
            var listed: [KafkaGroupFacts] = []
            var unlisted: [String] = []
            var failure: KafkaError?
            for (index, id) in ids.enumerated() {
                // Half of the time stays for the groups that nobody lists.
                switch Self.listed(id, handle, max(left() / Int32(ids.count - index + 1), 1)) {
                case .success(let group?): listed.append(group)
                case .success(nil): unlisted.append(id)
                case .failure(let error):
                    failure = error
                    listed.append(KafkaGroupFacts(id: id, error: error.code, state: "", assignor: "", members: []))
                }
            }
            if let failure, listed.allSatisfy({ $0.error != nil }) { return .failure(failure) }
            guard !unlisted.isEmpty else { return .success(listed) }
            return Self.described(unlisted, handle, left()).map { listed + $0 }
        }
    }

    /// A group as its coordinator describes it, asked for with any client. Blocks the thread for at most that many
    /// milliseconds. Nil: no broker lists it. It has not had a member yet, or this client may not see it.
    static func listed(
        _ id: String, _ handle: OpaquePointer, _ milliseconds: Int32
    ) -> Result<KafkaGroupFacts?, KafkaError> {
        var list: UnsafePointer<rd_kafka_group_list>?
        let code = rd_kafka_list_groups(handle, id, &list, milliseconds)
        // Partial: the group was found, and other brokers did not answer.
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__PARTIAL, let list else {
            return .failure(KafkaError(code, "group \(id)"))
        }
        defer { rd_kafka_group_list_destroy(list) }
        guard list.pointee.group_cnt > 0, let group = list.pointee.groups?.pointee else { return .success(nil) }
        func text(_ pointer: UnsafePointer<CChar>?) -> String { pointer.map { String(cString: $0) } ?? "" }
        return .success(
            KafkaGroupFacts(
                id: id,
                error: group.err == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : text(rd_kafka_err2name(group.err)),
                state: text(group.state), assignor: text(group.protocol),
                members: (0..<Int(group.member_cnt)).map { index in
                    KafkaGroupFacts.Member(
                        clientID: text(group.members[index].client_id), host: text(group.members[index].client_host))
                }))
    }

    /// What the coordinators say of groups that nobody lists: that they are dead, or that we may not ask. Not for a role
    /// and not for other groups: librdkafka aborts the process when the coordinator goes away before it has answered
    /// (librdkafka issue 4605).
    private static func described(
        _ ids: [String], _ handle: OpaquePointer, _ milliseconds: Int32
    ) -> Result<[KafkaGroupFacts], KafkaError> {
        let names = ids.map { strdup($0) }
        defer { for name in names { free(name) } }
        var pointers: [UnsafePointer<CChar>?] = names.map { UnsafePointer($0) }
        return admin(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, milliseconds) { options, queue in
            rd_kafka_DescribeConsumerGroups(handle, &pointers, pointers.count, options, queue)
        } result: { event in
            var count = 0
            guard
                let groups = rd_kafka_DescribeConsumerGroups_result_groups(
                    rd_kafka_event_DescribeConsumerGroups_result(event), &count)
            else { return .success([]) }
            return .success((0..<count).compactMap { index in groups[index].map { facts($0) } })
        }
    }

    private static func facts(_ group: OpaquePointer) -> KafkaGroupFacts {
        func text(_ pointer: UnsafePointer<CChar>?) -> String { pointer.map { String(cString: $0) } ?? "" }
        let error = rd_kafka_ConsumerGroupDescription_error(group)
        let members = (0..<rd_kafka_ConsumerGroupDescription_member_count(group)).map { index in
            let member = rd_kafka_ConsumerGroupDescription_member(group, index)
            return KafkaGroupFacts.Member(
                clientID: text(rd_kafka_MemberDescription_client_id(member)),
                host: text(rd_kafka_MemberDescription_host(member)))
        }
        return KafkaGroupFacts(
            id: text(rd_kafka_ConsumerGroupDescription_group_id(group)),
            error: error.flatMap { $0 }.map { text(rd_kafka_err2name(rd_kafka_error_code($0))) },
            state: text(rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(group))),
            assignor: text(rd_kafka_ConsumerGroupDescription_partition_assignor(group)), members: members)
    }
}
