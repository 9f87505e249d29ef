//! The index of named invariants.
//!
//! An id appears here, in the header of the machine it belongs to, in the code or oracle that checks it, in the panic or
//! [`Halt`](crate::Halt) it causes, and beside the planted fault that must break it. A tidy test checks that these
//! agree.

macro_rules! invariants {
    ($($invariant:ident = $id:literal, $sentence:literal;)*) => {
        /// Every named invariant.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Invariant { $(#[doc = $sentence] $invariant,)* }

        impl Invariant {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$invariant,)*];

            /// Its id, as headers, reports and planted faults spell it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$invariant => $id,)* }
            }

            /// What holds.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$invariant => $sentence,)* }
            }
        }
    };
}

invariants! {
    Drv1 = "INV-DRV-1", "no effect of a turn is released unless its commit succeeded";
    Drv2 = "INV-DRV-2", "a recovered machine agrees with the durable part of the live one after every commit";
    Drv3 = "INV-DRV-3", "the follow-ups of one input come to an end";
    Wir1 = "INV-WIR-1", "building a subject from a route and parsing it gives the same route back";
    Wir2 = "INV-WIR-2", "an envelope that contradicts its subject is not read";
    Ans1 = "INV-ANS-1", "only an answer that proves something is definite";
    Prg1 = "INV-PRG-1", "the same program on the same input gives the same output and uses the same gas";
    Gate1 = "INV-GATE-1", "acked ≤ durable ≤ applied ≤ delivered";
    Gate2 = "INV-GATE-2", "what is applied is contiguous in the order of the stream";
    Gate3 = "INV-GATE-3", "the checkpoint in memory is the checkpoint in the table";
    Gate4 = "INV-GATE-4", "outstanding requests never ask for more than the limit";
    Gate5 = "INV-GATE-5", "a delivery of an earlier generation changes nothing";
    Gate6 = "INV-GATE-6", "a stream still holds what was seen of it, or the partition stops";
    Gate7 = "INV-GATE-7", "who met the consumer of another store asks for nothing, and stops";
    Gate8 = "INV-GATE-8", "no message of a tenant is passed over while it is ours, and none is applied while it is not";
    Qrn1 = "INV-QRN-1", "while a key is quarantined, nothing of it is applied but its first message in its turn, and its messages are parked in order";
    Qrn2 = "INV-QRN-2", "a message is parked in the commit that advances the checkpoint past it";
    Qrn3 = "INV-QRN-3", "a group counts the keys and messages that are held back for its reason";
    Qrn4 = "INV-QRN-4", "a selection accounts for every key in it, and for every message that left by it";
    Out1 = "INV-OUT-1", "the entries of one lane leave in order, one at a time";
    Out2 = "INV-OUT-2", "an entry is removed only on a definite answer, or in the commit in which it is parked";
    Out3 = "INV-OUT-3", "the id of what leaves names the entry, not the attempt";
    Out4 = "INV-OUT-4", "no more entries are in flight than the window allows, in all and of one tenant";
    Out5 = "INV-OUT-5", "positions grow for ever, and memory and table agree on them";
    Out6 = "INV-OUT-6", "a conflict is looked into before it is believed";
    Out7 = "INV-OUT-7", "a tenant that has entries has one in memory, and waits for at most one turn of every other";
    Out8 = "INV-OUT-8", "while an entry that was given up on is kept, nothing of its lane leaves, and all of it is kept in order";
    Out9 = "INV-OUT-9", "an entry is given up on only after it was tried for as long as it may be";
    Saga1 = "INV-SAGA-1", "a cause is applied to a saga at most once";
    Saga2 = "INV-SAGA-2", "a finished saga absorbs every later event";
    Saga3 = "INV-SAGA-3", "compensation undoes, last first, what was done or may have been, and waits for what is in flight";
    Saga4 = "INV-SAGA-4", "the work a saga asks for commits with its state or not at all";
    Saga5 = "INV-SAGA-5", "what a saga asked for first leaves first, whichever way it takes";
    Saga6 = "INV-SAGA-6", "a paused saga reacts to nothing, and what comes for it is held and applied in order";
    Saga7 = "INV-SAGA-7", "a finished saga waits for nothing: its timers are cancelled, and nothing is held for it";
    Saga8 = "INV-SAGA-8", "an instance reacts by the definition it began under, which is kept until it ends or is migrated";
    Saga9 = "INV-SAGA-9", "what a restarted saga asks for is not what it asked for before";
    Saga10 = "INV-SAGA-10", "a replayed event begins no saga that may have been there, unless an operator says so";
    Keep1 = "INV-KEEP-1", "what has ended is indexed once, and removed when it was kept long enough";
    Eff1 = "INV-EFF-1", "that an attempt started is durable before the attempt is released";
    Eff2 = "INV-EFF-2", "the idempotency key never changes across attempts";
    Eff3 = "INV-EFF-3", "an effect has at most one live attempt";
    Eff4 = "INV-EFF-4", "an effect is settled once, and its result commits with that; a parked one moves only as an operator says";
    Eff5 = "INV-EFF-5", "an attempt without an answer is on record, and an effect that may happen at most once is not repeated after it, unless an operator says so";
    Eff6 = "INV-EFF-6", "no attempt begins when an effect's time is used up";
    Eff7 = "INV-EFF-7", "from when a circuit opens until its upstream answers, one call to it begins at a time";
    Eff8 = "INV-EFF-8", "no more calls are under way, and no more begin in a second, under a key than its limits allow";
    Sch1 = "INV-SCH-1", "the tables of timers name the same timers";
    Sch2 = "INV-SCH-2", "a timer that was set fires once, or is cancelled";
    Sch3 = "INV-SCH-3", "no timer fires before its time by the wall clock";
    Sch4 = "INV-SCH-4", "no more timers fire in one step than the bound allows";
    Cron1 = "INV-CRON-1", "an occurrence fires at most once, and those of a schedule and a tenant in the order of their times";
    Cron2 = "INV-CRON-2", "no occurrence fires before its time by the wall clock";
    Cron3 = "INV-CRON-3", "what fell due and may still fire does, unless it is left out for the one before";
    Cron4 = "INV-CRON-4", "memory and table agree on every row of a schedule";
    Cron5 = "INV-CRON-5", "an occurrence does not fire while the one before runs, unless the schedule allows it";
    Cron6 = "INV-CRON-6", "while a schedule is paused nothing of it fires but what an operator has fire at once";
    Cron7 = "INV-CRON-7", "what an operator asks for besides the calendar fires once, and all of it unless it is given up";
    Agg1 = "INV-AGG-1", "the versions of an aggregate are contiguous from one";
    Agg2 = "INV-AGG-2", "a command id has one outcome";
    Agg3 = "INV-AGG-3", "after an unknown append or a conflict, the stream is looked at before deciding again";
    Agg4 = "INV-AGG-4", "attempts and queues are bounded, and their end is an answer";
    Agg5 = "INV-AGG-5", "a history that cannot be read is never skipped: its commands are refused";
    Agg6 = "INV-AGG-6", "the state on record equals the fold of the stream up to its last sequence";
    Agg7 = "INV-AGG-7", "a refusal is decided only on a state read from the stream after the command arrived";
    Agg8 = "INV-AGG-8", "the stream still holds the last event seen and everything before it, or the node stops";
    Prj1 = "INV-PRJ-1", "a row and the checkpoint past its event are one commit";
    Prj2 = "INV-PRJ-2", "a view equals the fold of the stream up to its checkpoint";
    Prj3 = "INV-PRJ-3", "per source, the versions applied by a view are contiguous";
    Drn1 = "INV-DRN-1", "nothing is taken in after a stop";
    Drn2 = "INV-DRN-2", "a drain is clean only if nothing is in flight";
    Drn3 = "INV-DRN-3", "a drain ends by its deadline, with an honest report";
    Drn4 = "INV-DRN-4", "stopping twice is stopping once";
    Drn5 = "INV-DRN-5", "no call begins after a stop, and nothing leaves after the report";
    Ten1 = "INV-TEN-1", "nothing of one tenant is caused by, addressed to or shown to another";
    Once1 = "INV-ONCE-1", "what the broker and the outside were told is exactly what was intended: nothing lost, nothing twice";
    Cons1 = "INV-CONS-1", "money and stock are conserved";
    Live1 = "INV-LIVE-1", "once faults stop, everything accepted ends";
    Div1 = "INV-DIV-1", "a node whose rows no longer agree with the log has noticed, and does not claim to be ready";
    Brk1 = "INV-BRK-1", "an acknowledged message is stored, once, until something is allowed to remove it";
    Brk2 = "INV-BRK-2", "a consumer delivers what matches, in order, and again until it is settled";
}
