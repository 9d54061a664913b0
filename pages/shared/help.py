"""How to use each page, by its title: what to click, drag and press."""

from __future__ import annotations

HELP = {
    "Lung lesion explorer": (
        "- **Choose where to start** below, or a page on the left. The tour takes two minutes.\n"
        "- All pages show the **model** picked on the left.\n"
        "- The **address** of every page shows others what you see; copy it to share it.\n"
        "- **Light or dark:** the menu at the top right. **Larger text**, for a projector: on the left.\n"
        "- Everything works with the **keyboard**: Tab moves the focus, Enter and Space press, arrows move "
        "sliders."
    ),
    "Latent map": (
        "- **Point** at a lesion to see it; **click** it for its card.\n"
        "- **Drag** to draw around a group, hold Shift to add to it.\n"
        "- **Wheel** or + and − zoom, until points become images.\n"
        "- What you choose is in the address, so a link shows the same map, filter and lesion."
    ),
    "Traversal": (
        "- **Drag a slider**, or use the arrow keys, and the image follows. Double-click a slider's name "
        "to reset it.\n"
        "- **Start from** a lesion, a mean of lesions, the prior, or an image of yours (from Predict).\n"
        "- Below are more paths: from one lesion to another, two dimensions at once, all of them, and the "
        "smallest change that flips the score. You can download films and strips."
    ),
    "Predict": (
        "- **A lesion of the set:** choose patient, nodule and slice, or come from the map.\n"
        "- **Your own image:** DICOM files or a zip of them, NIfTI, npy, png. Click into the lesion to "
        "place the box; arrow keys move it. The image stays in this machine's memory.\n"
        "- **Neighbours** are from other patients. Click one to see it."
    ),
    "Compare": (
        "- The left map shows the **model** picked in the sidebar; choose the **other one** above.\n"
        "- **Point** at a lesion in one map: a ring shows it in the other. **Click** it, or draw around a "
        "group, in either.\n"
        "- Below, the same lesion in both models: its reconstruction, score and neighbours."
    ),
    "Evaluation": (
        "- Choose a **report** and a unit: slices, nodules or patients.\n"
        "- Every figure comes with the **baselines** on the same folds; bars are 95 % intervals.\n"
        "- **HTML to send** makes one file with everything. Below you can start your own evaluation."
    ),
    "Measured traversals": (
        "- **Click a square** in the overview, or choose a dimension, to see it decoded and measured.\n"
        "- **Walk it** opens the dimension on the Traversal page, where you can move it yourself."
    ),
    "Factors": (
        "- Each square shows how much one dimension says about one factor; the **null** is the same with "
        "patients shuffled.\n"
        "- Choose a factor or a dimension to see the figures in full."
    ),
    "Clusters": (
        "- Choose a **method** and a cluster: its lesions, what is typical, and their patients.\n"
        "- You can open a cluster on the map."
    ),
    "Directions": (
        "- Choose a **direction** to see a lesion move along it, and how well it predicts.\n"
        "- The smallest change that flips a lesion's score is below."
    ),
    "Train": (
        "- Choose **data** and a **preset**, change what you like, and start. It continues when the tab is "
        "closed.\n"
        "- The finished model appears in the picker on the left. Stopping keeps a checkpoint."
    ),
    "Search": (
        "- Choose **data**, what may vary, and how many **trials**; start it, and watch the table grow.\n"
        "- Draw a box around points on an axis of the parallel coordinates to list the trials in that "
        "range."
    ),
}
